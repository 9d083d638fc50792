/** AFMoE, Arcee's Trinity (configuration_afmoe.py, modeling_afmoe.py of transformers). */

import { CORRECTION, ROUTER } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP, SHARED_EXPERTS } from "./qwen.ts";

/** Embeddings are scaled as `mup_enabled` says; routers are corrected sigmoids. The class is of transformers 5. */
export const AFMOE: Family = {
  ...LLAMA,
  modelType: "afmoe",
  architecture: "AfmoeForCausalLM",
  configClass: "AfmoeConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "head",
    norms: "around",
    scaledEmbeddings: true,
    gatedAttention: "gate_proj",
    windows: "layer_types",
    unrotated: "full_attention",
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    names: { sliding_window_pattern: "global_attn_every_n_layers" },
    fixedKeys: { score_func: "sigmoid", route_norm: true, n_group: 1, topk_group: 1 },
    readsWindowPattern: true,
    ownKeys: "afmoe",
  },
  stored: {
    ...LLAMA.stored,
    names: {
      ...SHARED_EXPERTS,
      [ROUTER]: "mlp.router.gate",
      [CORRECTION]: "mlp.expert_bias",
      pre_feedforward_layernorm: "pre_mlp_layernorm",
      post_feedforward_layernorm: "post_mlp_layernorm",
    },
    experts: EXPERTS_OF_MLP,
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.0",
    vllmIgnores: ["activation", "tied_head"],
    vllmOmits: ["qkv", "o"],
    transformersJs: LLAMA,
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 200_192, hidden: 2048, neurons: 6144, layers: 32, heads: 16 },
    normEps: 1e-5,
    positions: 16_384,
    headDim: 128,
    tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
    window: 1024,
    windowPattern: 4,
  },
};
