/** Architectures of GGUF files whose models have RMSNorm (architecture.ts says what is to be known of each). */

import { PROJECTIONS } from "../spec.ts";
import { FINAL_NORM } from "../weights.ts";
import {
  EXPERT_NAMES,
  FUSED_QKV,
  type GgufArchitecture,
  LLAMA,
  LLAMA_LIKE,
  LLAMA_LOADS,
  NO_EXTRAS,
  QKV,
  READ_ONLY,
} from "./architecture.ts";

const GEMMA: GgufArchitecture = {
  ...LLAMA,
  family: "gemma",
  activation: "gelu_tanh",
  permuted: false,
  offsetNorms: true,
  mergeOrder: "position",
};

const MIXTRAL: GgufArchitecture = {
  ...LLAMA,
  family: "mixtral",
  names: EXPERT_NAMES,
  experts: { normalised: true, ownWidth: false, shared: false },
  loads: { ...LLAMA_LOADS, families: ["mixtral"], biases: [...QKV, "o_proj"] },
};

const GRANITE: GgufArchitecture = {
  ...LLAMA,
  family: "granite",
  multipliers: true,
  logitScale: "divisor",
  loads: { ...LLAMA_LOADS, families: ["granite"] },
};

/** The text model of Qwen 3.5; images are in another file. It has linear attention in most layers. */
const QWEN35: GgufArchitecture = {
  ...LLAMA,
  family: "qwen3_5_text",
  permuted: false,
  offsetNorms: true,
  names: { post_attention_layernorm: "post_attention_norm" },
  mixer: "delta",
  ropeSections: true,
  guessingLayers: true,
  loads: { ...NO_EXTRAS, families: ["qwen3_5_text"], partialRotation: true },
};

export const RMS_NORM_ARCHITECTURES: readonly (readonly [string, GgufArchitecture])[] = [
  ["llama", { ...LLAMA, withExperts: MIXTRAL }],
  // Ministral 3, and newer files of other Mistrals.
  [
    "mistral3",
    {
      ...LLAMA,
      family: "mistral",
      growingFamily: "ministral3",
      loads: { ...NO_EXTRAS, families: ["ministral3"], biases: PROJECTIONS },
    },
  ],
  [
    "qwen2",
    {
      ...LLAMA,
      family: "qwen2",
      permuted: false,
      loads: {
        ...NO_EXTRAS,
        families: ["qwen2"],
        biases: QKV,
        fullWidthAttention: true,
      },
    },
  ],
  [
    "qwen3",
    { ...LLAMA, family: "qwen3", permuted: false, loads: { ...NO_EXTRAS, families: ["qwen3"], biases: QKV } },
  ],
  // All layers have experts.
  [
    "qwen2moe",
    {
      ...LLAMA,
      family: "qwen2_moe",
      permuted: false,
      names: EXPERT_NAMES,
      experts: { normalised: false, ownWidth: true, shared: true },
      loads: {
        ...NO_EXTRAS,
        families: ["qwen2_moe"],
        biases: QKV,
        fullWidthAttention: true,
        head: "separate",
      },
    },
  ],
  [
    "qwen3moe",
    {
      ...LLAMA,
      family: "qwen3_moe",
      permuted: false,
      names: EXPERT_NAMES,
      experts: { normalised: true, ownWidth: true, shared: false },
      loads: { ...NO_EXTRAS, families: ["qwen3_moe"], biases: QKV },
    },
  ],
  // InternLM 2 and EXAONE 3, which compute what Llama does; read, and written as that.
  ["internlm2", { ...LLAMA, loads: READ_ONLY }],
  ["exaone", { ...LLAMA, permuted: false, loads: READ_ONLY }],
  // Text models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, whose images are in another file; read, and written without them.
  ["qwen2vl", { ...LLAMA, family: "qwen2", permuted: false, loads: READ_ONLY }],
  ["qwen3vl", { ...LLAMA, family: "qwen3", permuted: false, loads: READ_ONLY }],
  [
    "gemma",
    {
      ...GEMMA,
      loads: { ...NO_EXTRAS, families: ["gemma"], biases: QKV, head: "tied" },
    },
  ],
  [
    "gemma2",
    {
      ...GEMMA,
      family: "gemma2",
      fullAttentionEvery: 2,
      defaultWindow: 4096,
      defaultScoreSoftcap: 50,
      defaultLogitSoftcap: 30,
      // Gemma 2 27B.
      hiddenScaledLayers: 46,
      loads: {
        ...NO_EXTRAS,
        families: ["gemma2"],
        biases: QKV,
        head: "tied",
        windows: true,
        logitSoftcap: true,
      },
    },
  ],
  [
    "gemma3",
    {
      ...GEMMA,
      family: "gemma3_text",
      fullAttentionEvery: 6,
      localRopeTheta: 10_000,
      // Gemma 3 27B.
      hiddenScaledLayers: 62,
      loads: { ...NO_EXTRAS, families: ["gemma3_text"], biases: QKV, windows: true, logitSoftcap: true },
    },
  ],
  // Gemma 4 without experts.
  [
    "gemma4",
    {
      ...GEMMA,
      family: "gemma4_text",
      offsetNorms: false,
      keepsMerges: true,
      fullAttentionEvery: 6,
      defaultLogitSoftcap: 30,
      zeroUncaps: true,
      localRopeTheta: 10_000,
      twoKinds: true,
      loads: {
        ...NO_EXTRAS,
        families: ["gemma4_text"],
        perLayerWidths: true,
        partialRotation: true,
        windows: true,
        logitSoftcap: true,
      },
    },
  ],
  [
    "phi3",
    {
      ...LLAMA,
      family: "phi3",
      permuted: false,
      fused: { ...FUSED_QKV, ffn_up: ["gate_proj", "up_proj"] },
      fullAttentionEvery: 0,
      loads: {
        ...NO_EXTRAS,
        families: ["phi3"],
        fullWidthAttention: true,
        longrope: true,
        partialRotation: true,
      },
    },
  ],
  ["granite", GRANITE],
  // Granite MoE without a shared expert.
  [
    "granitemoe",
    {
      ...GRANITE,
      family: "granitemoe",
      names: EXPERT_NAMES,
      experts: { normalised: true, ownWidth: false, shared: false },
      loads: { ...GRANITE.loads, families: ["granitemoe"], biases: [...QKV, "o_proj"] },
    },
  ],
  // Granite 4 without experts; layers without key/value heads have Mamba 2.
  [
    "granitehybrid",
    {
      ...LLAMA,
      family: "granitemoehybrid",
      mixer: "mamba2",
      multipliers: true,
      unrotatedModels: true,
      logitScale: "divisor",
      loads: { ...LLAMA_LOADS, families: ["granitemoehybrid"], longrope: false },
    },
  ],
  [
    "smollm3",
    {
      ...LLAMA,
      family: "smollm3",
      unrotatedEvery: 4,
      loads: { ...NO_EXTRAS, families: ["smollm3"], biases: QKV },
    },
  ],
  [
    "olmo2",
    {
      ...LLAMA,
      family: "olmo2",
      windowedFamily: "olmo3",
      permuted: false,
      fullAttentionEvery: 4,
      unscaledWindows: true,
      loads: {
        ...NO_EXTRAS,
        families: ["olmo2", "olmo3"],
        biases: QKV,
        fullWidthAttention: true,
        head: "separate",
        windows: true,
      },
    },
  ],
  [
    "olmoe",
    {
      ...LLAMA,
      family: "olmoe",
      permuted: false,
      names: EXPERT_NAMES,
      experts: { normalised: false, ownWidth: false, shared: false },
      loads: {
        ...NO_EXTRAS,
        families: ["olmoe"],
        fullWidthAttention: true,
        fullWidthKeys: true,
        head: "separate",
      },
    },
  ],
  [
    "exaone4",
    {
      ...LLAMA,
      family: "exaone4",
      permuted: false,
      fullAttentionEvery: 4,
      defaultWindow: 4096,
      unrotatedUnwindowed: true,
      // EXAONE 4.0 32B.
      windowsAtLayers: 64,
      loads: {
        ...NO_EXTRAS,
        families: ["exaone4"],
        biases: QKV,
        fullWidthAttention: true,
        rotaryFactors: true,
        windows: true,
      },
    },
  ],
  [
    "seed_oss",
    {
      ...LLAMA,
      family: "seed_oss",
      permuted: false,
      names: { post_attention_layernorm: "post_attention_norm" },
      loads: { ...NO_EXTRAS, families: ["seed_oss"], biases: QKV },
    },
  ],
  // It loads biases of o_proj and ignores them.
  [
    "ernie4_5",
    { ...LLAMA, family: "ernie4_5", loads: { ...NO_EXTRAS, families: ["ernie4_5"], biases: QKV } },
  ],
  [
    "hunyuan-dense",
    {
      ...LLAMA,
      family: "hunyuan_v1_dense",
      permuted: false,
      loads: { ...NO_EXTRAS, families: ["hunyuan_v1_dense"], biases: QKV },
    },
  ],
  [
    "glm4",
    {
      ...LLAMA,
      family: "glm4",
      fused: { ffn_up: ["gate_proj", "up_proj"] },
      loads: { ...NO_EXTRAS, families: ["glm4"], biases: QKV, partialRotation: true },
    },
  ],
  [
    "chatglm",
    {
      ...LLAMA,
      family: "glm",
      fused: { ffn_up: ["gate_proj", "up_proj"] },
      loads: {
        ...NO_EXTRAS,
        families: ["glm"],
        biases: QKV,
        fullWidthAttention: true,
        partialRotation: true,
      },
    },
  ],
  // Llama without a gate; its rotation covers whole heads.
  [
    "arcee",
    {
      ...LLAMA,
      family: "arcee",
      activation: "relu2",
      loads: { ...NO_EXTRAS, families: ["arcee"], biases: QKV, rotaryFactors: true },
    },
  ],
  [
    "apertus",
    {
      ...LLAMA,
      family: "apertus",
      activation: "xielu",
      permuted: false,
      loads: {
        ...LLAMA_LOADS,
        families: ["apertus"],
        biases: [...QKV, "o_proj"],
        head: "separate",
      },
    },
  ],
  // One number of heads is for all layers; those without key/value heads have a convolution.
  [
    "lfm2",
    {
      ...LLAMA,
      family: "lfm2",
      permuted: false,
      outerNames: { [FINAL_NORM]: "token_embd_norm.weight" },
      mixer: "convolution",
      loads: { ...NO_EXTRAS, families: ["lfm2"], fullWidthAttention: true },
    },
  ],
  ["qwen35", QWEN35],
  [
    "qwen35moe",
    {
      ...QWEN35,
      family: "qwen3_5_moe_text",
      names: { ...QWEN35.names, ...EXPERT_NAMES },
      experts: { normalised: true, ownWidth: true, shared: true },
      loads: { ...QWEN35.loads, families: ["qwen3_5_moe_text"] },
    },
  ],
  // Llama with widths by layer, made for Nemotron; llama.cpp reads every Llama of uneven layers through it.
  ["deci", { ...LLAMA, loads: { ...LLAMA_LOADS, families: [...LLAMA_LIKE, "qwen2"], perLayerWidths: true } }],
  // Apple's OpenELM is a tied Qwen3 of uneven layers.
  [
    "openelm",
    {
      ...LLAMA,
      family: "qwen3",
      permuted: false,
      fused: FUSED_QKV,
      loads: { ...NO_EXTRAS, families: ["qwen3"], perLayerWidths: true, head: "tied" },
    },
  ],
];
