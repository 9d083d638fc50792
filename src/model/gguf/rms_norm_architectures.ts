/**
 * Architectures of GGUF files whose models have RMSNorm and no experts (architecture.ts says what is to be known of
 * each).
 */

import { PROJECTIONS } from "../projections.ts";
import { FINAL_NORM } from "../weight_names.ts";
import {
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

const GEMMA3N: GgufArchitecture = {
  ...GEMMA,
  family: "gemma3n_text",
  offsetNorms: false,
  fullAttentionEvery: 5,
  defaultLogitSoftcap: 30,
  localRopeTheta: 10_000,
  streams: true,
  loads: { ...NO_EXTRAS, families: ["gemma3n_text"], windows: true, logitSoftcap: true },
};

export const GEMMA4: GgufArchitecture = {
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
};

export const GRANITE: GgufArchitecture = {
  ...LLAMA,
  family: "granite",
  multipliers: true,
  logitScale: "divisor",
  loads: { ...LLAMA_LOADS, families: ["granite"] },
};

/** Granite 4; layers without key/value heads have Mamba 2. */
export const GRANITE_HYBRID: GgufArchitecture = {
  ...LLAMA,
  family: "granitemoehybrid",
  mixer: "mamba2",
  multipliers: true,
  unrotatedModels: true,
  logitScale: "divisor",
  loads: { ...LLAMA_LOADS, families: ["granitemoehybrid"], longrope: false },
};

/** It loads biases of o_proj and ignores them. */
export const ERNIE4_5: GgufArchitecture = {
  ...LLAMA,
  family: "ernie4_5",
  loads: { ...NO_EXTRAS, families: ["ernie4_5"], biases: QKV },
};

/** One number of heads is for all layers; those without key/value heads have a convolution. */
export const LFM2: GgufArchitecture = {
  ...LLAMA,
  family: "lfm2",
  permuted: false,
  outerNames: { [FINAL_NORM]: "token_embd_norm.weight" },
  mixer: "convolution",
  loads: { ...NO_EXTRAS, families: ["lfm2"], fullWidthAttention: true },
};

/** The text model of Qwen 3.5; images are in another file. It has linear attention in most layers. */
export const QWEN35: GgufArchitecture = {
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

/** Nemotron-H; no heads are rotated. Biases of q_proj are loaded where queries fill the hidden size alone. */
export const NEMOTRON_H: GgufArchitecture = {
  ...LLAMA,
  family: "nemotron_h",
  activation: "relu2",
  permuted: false,
  mixer: "mamba2",
  blocks: true,
  bothEpsilons: true,
  unrotatedEvery: 1,
  loads: {
    ...NO_EXTRAS,
    families: ["nemotron_h"],
    perLayerWidths: true,
    biases: ["o_proj", "up_proj", "down_proj"],
  },
};

/** Falcon-H1; biases of o_proj are loaded, but not added (falcon-h1.cpp). */
const FALCON_H1: GgufArchitecture = {
  ...LLAMA,
  family: "falcon_h1",
  permuted: false,
  names: { "post_attention_layernorm.weight": "ffn_norm" },
  mixer: "mamba2",
  beside: true,
  folded: true,
  loads: { ...NO_EXTRAS, families: ["falcon_h1"], biases: [...QKV, "gate_proj", "up_proj", "down_proj"] },
};

export const RMS_NORM_ARCHITECTURES: readonly (readonly [string, GgufArchitecture])[] = [
  ["llama", LLAMA],
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
  // Without experts.
  ["gemma3n", GEMMA3N],
  ["gemma4", GEMMA4],
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
  // Without experts, of Granite 4.
  ["granitehybrid", GRANITE_HYBRID],
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
  ["ernie4_5", ERNIE4_5],
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
  ["lfm2", LFM2],
  ["nemotron_h", NEMOTRON_H],
  ["falcon-h1", FALCON_H1],
  ["qwen35", QWEN35],
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
