/**
 * Architectures of GGUF files whose layers have experts (architecture.ts says what is to be known of each). A name may
 * stand for one without experts in other files, and for one with a shared expert beside them.
 */

import { EXPERT_NORMS } from "../expert_weights.ts";
import { PROJECTIONS } from "../projections.ts";
import {
  type GgufArchitecture,
  type GgufExperts,
  LLAMA,
  LLAMA_LOADS,
  NO_EXTRAS,
  QKV,
} from "./architecture.ts";
import {
  ERNIE4_5,
  GEMMA4,
  GRANITE,
  GRANITE_HYBRID,
  LFM2,
  NEMOTRON_H,
  QWEN35,
} from "./rms_norm_architectures.ts";

/** Of all layers, picked by a softmax, as wide as the key of FFNs says. */
const EXPERTS: GgufExperts = {
  normalised: true,
  ownWidth: false,
  shared: null,
  averaged: false,
  grouped: false,
  scores: {},
  saysScores: false,
  joined: false,
  scaled: false,
  afterDense: false,
  stepped: false,
};
const OWN_WIDTH: GgufExperts = { ...EXPERTS, ownWidth: true };

/** Those of GLM-4.5. */
const SIGMOID_EXPERTS: GgufExperts = {
  ...OWN_WIDTH,
  normalised: null,
  shared: "multiple",
  scores: { sigmoid: true, corrected: true, divisor: { plus: 1e-20 } },
  scaled: true,
  afterDense: true,
};

/** Those of Granite 4, beside a shared one. */
const GRANITE_EXPERTS: GgufExperts = { ...EXPERTS, shared: "open" };

const GRANITE_MOE: GgufArchitecture = {
  ...GRANITE,
  family: "granitemoe",
  experts: EXPERTS,
  loads: { ...GRANITE.loads, families: ["granitemoe"], biases: [...QKV, "o_proj"] },
};

/** DeepSeek V3, and others with latents. */
const DEEPSEEK2: GgufArchitecture = {
  ...LLAMA,
  family: "deepseek_v3",
  names: {
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.kv_a_proj": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.k_proj": "attn_k_b",
    "self_attn.v_proj": "attn_v_b",
  },
  latents: true,
  guessingLayers: true,
  experts: { ...SIGMOID_EXPERTS, grouped: true },
  loads: { ...NO_EXTRAS, families: ["deepseek_v3", "glm4_moe_lite"] },
};

export const EXPERT_ARCHITECTURES: readonly (readonly [string, GgufArchitecture])[] = [
  [
    "llama",
    {
      ...LLAMA,
      family: "mixtral",
      experts: EXPERTS,
      loads: { ...LLAMA_LOADS, families: ["mixtral"], biases: [...QKV, "o_proj"] },
    },
  ],
  [
    "qwen2moe",
    {
      ...LLAMA,
      family: "qwen2_moe",
      permuted: false,
      experts: { ...OWN_WIDTH, normalised: false, shared: "gated" },
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
      experts: OWN_WIDTH,
      loads: { ...NO_EXTRAS, families: ["qwen3_moe"], biases: QKV },
    },
  ],
  [
    "qwen35moe",
    {
      ...QWEN35,
      family: "qwen3_5_moe_text",
      experts: { ...OWN_WIDTH, shared: "gated" },
      loads: { ...QWEN35.loads, families: ["qwen3_5_moe_text"] },
    },
  ],
  [
    "qwen3next",
    {
      ...QWEN35,
      family: "qwen3_next",
      names: { ...QWEN35.names, "linear_attn.in_proj_b": "ssm_ba", "linear_attn.in_proj_a": "ssm_ba" },
      tiledHeads: false,
      ropeSections: false,
      guessingLayers: false,
      experts: { ...OWN_WIDTH, shared: "gated" },
      loads: { ...QWEN35.loads, families: ["qwen3_next"] },
    },
  ],
  [
    "nemotron_h_moe",
    {
      ...NEMOTRON_H,
      experts: { ...SIGMOID_EXPERTS, shared: "open", grouped: true, afterDense: false },
      loads: { ...NEMOTRON_H.loads, biases: ["o_proj"] },
    },
  ],
  ["granitemoe", GRANITE_MOE],
  // Granite MoE with a shared expert, and Granite 4 with attention in all layers.
  [
    "granitemoe",
    {
      ...GRANITE_MOE,
      family: "granitemoeshared",
      experts: GRANITE_EXPERTS,
      loads: { ...GRANITE_MOE.loads, families: ["granitemoeshared", "granitemoehybrid"] },
    },
  ],
  [
    "granitehybrid",
    {
      ...GRANITE_HYBRID,
      experts: GRANITE_EXPERTS,
      loads: { ...GRANITE_HYBRID.loads, biases: [...QKV, "o_proj"] },
    },
  ],
  [
    "olmoe",
    {
      ...LLAMA,
      family: "olmoe",
      permuted: false,
      experts: { ...EXPERTS, normalised: false },
      loads: {
        ...NO_EXTRAS,
        families: ["olmoe"],
        fullWidthAttention: true,
        fullWidthKeys: true,
        head: "separate",
      },
    },
  ],
  // All experts are as wide, but FFNs beside them need not be.
  [
    "gemma4",
    {
      ...GEMMA4,
      names: {
        "mlp.shared_expert.gate_proj": "ffn_gate",
        "mlp.shared_expert.up_proj": "ffn_up",
        "mlp.shared_expert.down_proj": "ffn_down",
        [EXPERT_NORMS.input]: "pre_ffw_norm_2",
        [EXPERT_NORMS.output]: "post_ffw_norm_2",
        [EXPERT_NORMS.beside]: "post_ffw_norm_1",
      },
      experts: { ...OWN_WIDTH, shared: "ffn", scores: { ownNorms: true, ownScales: true } },
    },
  ],
  [
    "lfm2moe",
    {
      ...LFM2,
      family: "lfm2_moe",
      experts: {
        ...OWN_WIDTH,
        scores: { sigmoid: true, corrected: true, divisor: { plus: 1e-6 } },
        afterDense: true,
      },
      loads: { ...LFM2.loads, families: ["lfm2_moe"] },
    },
  ],
  // GLM-4.5 to 4.7, and Solar Open.
  [
    "glm4moe",
    {
      ...LLAMA,
      family: "glm4_moe",
      permuted: false,
      names: { post_attention_layernorm: "post_attention_norm" },
      guessingLayers: true,
      experts: SIGMOID_EXPERTS,
      loads: { ...NO_EXTRAS, families: ["glm4_moe", "solar_open"], biases: QKV, partialRotation: true },
    },
  ],
  [
    "dots1",
    {
      ...LLAMA,
      family: "dots1",
      permuted: false,
      experts: SIGMOID_EXPERTS,
      loads: { ...NO_EXTRAS, families: ["dots1"], groupedQueries: false, head: "separate" },
    },
  ],
  [
    "afmoe",
    {
      ...LLAMA,
      family: "afmoe",
      permuted: false,
      fullAttentionEvery: 4,
      unrotatedEvery: 4,
      experts: SIGMOID_EXPERTS,
      loads: { ...NO_EXTRAS, families: ["afmoe"], windows: true },
    },
  ],
  [
    "laguna",
    {
      ...LLAMA,
      family: "laguna",
      permuted: false,
      fullAttentionEvery: 4,
      firstUnwindowed: true,
      localRopeTheta: "full",
      localRotation: true,
      readsTurns: true,
      gatesByRows: true,
      experts: { ...SIGMOID_EXPERTS, shared: "open", scores: { sigmoid: true, corrected: true } },
      loads: {
        ...NO_EXTRAS,
        families: ["laguna"],
        perLayerHeads: true,
        partialRotation: true,
        windows: true,
      },
    },
  ],
  [
    "exaone-moe",
    {
      ...LLAMA,
      family: "exaone_moe",
      permuted: false,
      guessingLayers: true,
      fullAttentionEvery: 4,
      defaultWindow: 128,
      unrotatedUnwindowed: true,
      experts: { ...SIGMOID_EXPERTS, shared: "open" },
      loads: { ...NO_EXTRAS, families: ["exaone_moe"], rotaryFactors: true, windows: true },
    },
  ],
  [
    "cohere2moe",
    {
      ...LLAMA,
      family: "cohere2_moe",
      logitScale: "factor",
      guessingLayers: true,
      saysNorms: true,
      fullAttentionEvery: 4,
      windowFlags: true,
      defaultWindow: 4096,
      unrotatedUnwindowed: true,
      rotatedDense: true,
      experts: {
        ...OWN_WIDTH,
        normalised: null,
        shared: "counted",
        averaged: true,
        saysScores: true,
        scaled: true,
        afterDense: true,
      },
      loads: { ...NO_EXTRAS, families: ["cohere2_moe"], biases: QKV, windows: true },
    },
  ],
  [
    "minimax-m2",
    {
      ...LLAMA,
      family: "minimax_m2",
      permuted: false,
      experts: { ...OWN_WIDTH, scores: { sigmoid: true, corrected: true } },
      loads: { ...NO_EXTRAS, families: ["minimax_m2"], head: "separate", partialRotation: true },
    },
  ],
  [
    "hunyuan-moe",
    {
      ...LLAMA,
      family: "hunyuan_v1_moe",
      permuted: false,
      experts: { ...OWN_WIDTH, shared: "open" },
      loads: { ...NO_EXTRAS, families: ["hunyuan_v1_moe"] },
    },
  ],
  ["deepseek2", DEEPSEEK2],
  // Youtu-LLM.
  [
    "deepseek2",
    {
      ...DEEPSEEK2,
      experts: null,
      saysNoExperts: true,
      loads: { ...DEEPSEEK2.loads, families: ["deepseek_v3"] },
    },
  ],
  // DeepSeek V2.
  [
    "deepseek2",
    {
      ...DEEPSEEK2,
      family: "deepseek_v2",
      experts: { ...DEEPSEEK2.experts!, grouped: false, scores: {} },
      loads: { ...DEEPSEEK2.loads, families: ["deepseek_v2"] },
    },
  ],
  // Mistral Small 4; of YaRN, llama.cpp takes a mscale_all_dim of 1 for granted.
  [
    "mistral4",
    {
      ...DEEPSEEK2,
      family: "mistral4",
      growingFamily: "mistral4",
      experts: { ...DEEPSEEK2.experts!, scores: { divisor: { plus: 1e-20 } } },
      loads: { ...DEEPSEEK2.loads, families: ["mistral4"] },
    },
  ],
  [
    "gpt-oss",
    {
      ...LLAMA,
      family: "gpt_oss",
      activation: "clamped_swiglu",
      permuted: false,
      names: { post_attention_layernorm: "post_attention_norm" },
      fullAttentionEvery: 2,
      defaultWindow: 128,
      roundsYarn: false,
      experts: { ...OWN_WIDTH, scores: { biased: true } },
      loads: {
        ...NO_EXTRAS,
        families: ["gpt_oss"],
        biases: PROJECTIONS,
        requiredBiases: ["o_proj", "gate_proj", "up_proj", "down_proj"],
        head: "separate",
        windows: true,
      },
    },
  ],
  [
    "ernie4_5-moe",
    {
      ...ERNIE4_5,
      family: "ernie4_5_moe",
      experts: {
        ...OWN_WIDTH,
        shared: "open",
        scores: { corrected: true, divisor: { least: 1e-12 } },
        afterDense: true,
        stepped: true,
      },
      loads: { ...ERNIE4_5.loads, families: ["ernie4_5_moe"] },
    },
  ],
];
