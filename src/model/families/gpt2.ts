/** GPT-2 (configuration_gpt2.py and modeling_gpt2.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const GPT2: Family = {
  ...LLAMA,
  modelType: "gpt2",
  architecture: "GPT2LMHeadModel",
  configClass: "GPT2Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "always", o: "always", mlp: "always" },
    gated: false,
    normType: "layer",
    normParameters: "weight_and_bias",
    learnedPositions: { offset: 0 },
    unrotated: "all",
    kvHeads: "each",
    headsFillHidden: true,
  },
  config: {
    ...LLAMA.config,
    normEpsKey: "layer_norm_epsilon",
    names: {
      hidden_size: "n_embd",
      intermediate_size: "n_inner",
      num_hidden_layers: "n_layer",
      num_attention_heads: "n_head",
      max_position_embeddings: "n_positions",
      hidden_act: "activation_function",
    },
    aliases: ["hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"],
    fixedKeys: { scale_attn_weights: true, scale_attn_by_inverse_layer_idx: false },
  },
  stored: {
    ...LLAMA.stored,
    fused: ["c_attn"],
    prefixes: { decoder: "transformer.", head: "lm_head." },
    names: {
      input_layernorm: "ln_1",
      "self_attn.c_attn": "attn.c_attn",
      "self_attn.o_proj": "attn.c_proj",
      post_attention_layernorm: "ln_2",
      "mlp.up_proj": "mlp.c_fc",
      "mlp.down_proj": "mlp.c_proj",
    },
    outerNames: { embed_tokens: "wte", embed_positions: "wpe", layers: "h", norm: "ln_f" },
    transposed: true,
  },
  readers: { ...LLAMA.readers, standsIn: false, vllmBackend: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 50_257, hidden: 768, neurons: 3072, layers: 12, heads: 12 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    positions: 1024,
    neuronRatio: 4,
    tokenIds: { bos_token_id: 50_256, eos_token_id: 50_256, pad_token_id: null },
    activation: "gelu_new",
  },
};
