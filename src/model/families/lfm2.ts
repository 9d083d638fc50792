/**
 * LFM2 and LFM2 MoE, whose layers have attention or a short convolution (their configuration and modeling files in
 * transformers).
 */

import { CORRECTION } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";

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
      "mlp.gate_proj": "feed_forward.w1",
      "mlp.up_proj": "feed_forward.w3",
      "mlp.down_proj": "feed_forward.w2",
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
