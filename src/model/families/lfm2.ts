/**
 * LFM2, LFM2 MoE and LFM3, whose layers have attention or a short convolution (their configuration and modeling files
 * in transformers).
 */

import { CORRECTION } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { ATTENTION_GATES } from "../weight_names.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";

const FFN_NAMES = {
  "mlp.gate_proj": "feed_forward.w1",
  "mlp.up_proj": "feed_forward.w3",
  "mlp.down_proj": "feed_forward.w2",
};

export const LFM2: Family = {
  ...LLAMA,
  modelType: "lfm2",
  architecture: "Lfm2ForCausalLM",
  configClass: "Lfm2Config",
  computes: { ...LLAMA.computes, biases: NO_BIASES, qkNorm: "head", headsDivideHidden: false },
  config: { ...LLAMA.config, normEpsKey: "norm_eps", ownKeys: "lfm2" },
  stored: {
    ...LLAMA.stored,
    names: {
      input_layernorm: "operator_norm",
      post_attention_layernorm: "ffn_norm",
      "self_attn.o_proj": "self_attn.out_proj",
      "self_attn.q_norm": "self_attn.q_layernorm",
      "self_attn.k_norm": "self_attn.k_layernorm",
      ...FFN_NAMES,
    },
    outerNames: { norm: "embedding_norm" },
  },
  readers: {
    ...LLAMA.readers,
    vllmBackend: false,
    vllmReadsHeadDim: false,
    vllmIgnores: ["activation", "separate_head"],
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 65_536, hidden: 2560, neurons: 12_288, layers: 32, heads: 32 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    ropeTheta: 1_000_000,
    positions: 128_000,
    kvHeads: 8,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 },
  },
};

/** All layers but the first ones have experts. The class is one of transformers 5. */
export const LFM2_MOE: Family = {
  ...LFM2,
  modelType: "lfm2_moe",
  architecture: "Lfm2MoeForCausalLM",
  configClass: "Lfm2MoeConfig",
  config: { ...LFM2.config, ownKeys: "lfm2_moe" },
  stored: {
    ...LFM2.stored,
    names: {
      ...LFM2.stored.names,
      "mlp.gate": "feed_forward.gate",
      "mlp.experts": "feed_forward.experts",
      [CORRECTION]: "feed_forward.expert_bias",
    },
    experts: [
      { name: "feed_forward.experts.*.w1.weight", parts: ["gate_proj"] },
      { name: "feed_forward.experts.*.w3.weight", parts: ["up_proj"] },
      { name: "feed_forward.experts.*.w2.weight", parts: ["down_proj"] },
    ],
  },
  defaults: {
    ...LFM2.defaults,
    sizes: { vocab: 65_536, hidden: 2048, neurons: 7168, layers: 32, heads: 32 },
  },
};

/** Attention has gates for each head, and in some layers a window; blocks have norms on what they give too. */
export const LFM3: Family = {
  ...LFM2,
  modelType: "lfm3",
  architecture: "Lfm3ForCausalLM",
  configClass: "Lfm3Config",
  computes: {
    ...LFM2.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    norms: "around",
    gatedAttention: "head_gates",
    windows: "layer_types",
    ropeByLayerType: true,
    scaledRotary: "all",
  },
  config: {
    ...LFM2.config,
    normEpsKey: "rms_norm_eps",
    names: { rms_norm_eps: "norm_eps" },
    aliases: ["rms_norm_eps"],
    fixedKeys: { use_sandwich_norm: true, use_attention_gate: true },
    windowSwitch: false,
    scalingTypeKey: null,
    ownKeys: "lfm3",
  },
  stored: {
    ...LFM2.stored,
    names: {
      input_layernorm: "operator_norm",
      post_attention_layernorm: "post_operator_norm",
      pre_feedforward_layernorm: "ffn_norm",
      post_feedforward_layernorm: "post_ffn_norm",
      ...FFN_NAMES,
    },
    namesInMemory: { "self_attn.g_proj": ATTENTION_GATES },
  },
  readers: {
    ...LFM2.readers,
    transformersSince: "5.23",
    vllmClass: false,
    vllmIgnores: [],
    transformersJs: LFM2,
  },
  defaults: {
    ...LFM2.defaults,
    sizes: { vocab: 128_000, hidden: 2048, neurons: 7680, layers: 24, heads: 16 },
    localRopeTheta: 10_000,
    kvHeads: 4,
    headDim: 128,
    tokenIds: { bos_token_id: 124_894, eos_token_id: 124_900, pad_token_id: 124_893 },
    window: 256,
  },
};
