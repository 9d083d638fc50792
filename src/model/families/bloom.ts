/** BLOOM (configuration_bloom.py and modeling_bloom.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const BLOOM: Family = {
  ...LLAMA,
  modelType: "bloom",
  architecture: "BloomForCausalLM",
  configClass: "BloomConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "always", o: "always", mlp: "always" },
    gated: false,
    normType: "layer",
    normParameters: "weight_and_bias",
    embeddingNorm: true,
    unrotated: "all",
    kvHeads: "each",
    headsFillHidden: true,
  },
  config: {
    ...LLAMA.config,
    normEpsKey: "layer_norm_epsilon",
    names: {
      num_hidden_layers: "n_layer",
      num_attention_heads: "n_head",
      max_position_embeddings: "seq_length",
    },
    aliases: ["num_hidden_layers", "num_attention_heads"],
    fixedKeys: { apply_residual_connection_post_layernorm: false },
    ownKeys: "bloom",
  },
  stored: {
    ...LLAMA.stored,
    fused: ["query_key_value"],
    prefixes: { decoder: "transformer.", head: "lm_head." },
    names: {
      "self_attn.query_key_value": "self_attention.query_key_value",
      "self_attn.o_proj": "self_attention.dense",
      "mlp.up_proj": "mlp.dense_h_to_4h",
      "mlp.down_proj": "mlp.dense_4h_to_h",
    },
    outerNames: {
      embed_tokens: "word_embeddings",
      embed_layernorm: "word_embeddings_layernorm",
      layers: "h",
      norm: "ln_f",
    },
  },
  readers: { ...LLAMA.readers, standsIn: false, vllmBackend: false, vllmIgnores: ["separate_head"] },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 250_880, hidden: 64, neurons: 256, layers: 2, heads: 8 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    neuronRatio: 4,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: null },
    activation: "gelu_pytorch_tanh",
  },
};
