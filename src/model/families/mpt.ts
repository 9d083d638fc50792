/** MPT (configuration_mpt.py and modeling_mpt.py of transformers), whose class always has ALiBi. */
import type { Family } from "../family.ts";
import { BLOOM } from "./bloom.ts";
import { NO_BIASES } from "./llama.ts";

export const MPT: Family = {
  ...BLOOM,
  modelType: "mpt",
  architecture: "MptForCausalLM",
  configClass: "MptConfig",
  computes: {
    ...BLOOM.computes,
    biases: NO_BIASES,
    normParameters: "weight",
    embeddingNorm: false,
    clipsProjections: true,
  },
  config: {
    ...BLOOM.config,
    names: {
      hidden_size: "d_model",
      num_hidden_layers: "n_layers",
      num_attention_heads: "n_heads",
      max_position_embeddings: "max_seq_len",
    },
    aliases: ["hidden_size", "num_hidden_layers", "num_attention_heads"],
    fixedKeys: { no_bias: true },
    ownKeys: "mpt",
  },
  stored: {
    ...BLOOM.stored,
    fused: ["c_attn"],
    names: {
      input_layernorm: "norm_1",
      "self_attn.c_attn": "attn.Wqkv",
      "self_attn.o_proj": "attn.out_proj",
      post_attention_layernorm: "norm_2",
      "mlp.up_proj": "ffn.up_proj",
      "mlp.down_proj": "ffn.down_proj",
    },
    outerNames: { embed_tokens: "wte", layers: "blocks", norm: "norm_f" },
  },
  readers: { ...BLOOM.readers, vllmClass: false },
  defaults: {
    ...BLOOM.defaults,
    sizes: { vocab: 50_368, hidden: 2048, neurons: 8192, layers: 24, heads: 16 },
    tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
    activation: "gelu",
  },
};
