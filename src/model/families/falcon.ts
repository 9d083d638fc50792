/**
 * Falcon (configuration_falcon.py and modeling_falcon.py of transformers): rotary embedding or ALiBi, blocks in
 * parallel or not; falcon_keys.ts has the keys that say so.
 */
import type { Family } from "../family.ts";
import { BLOOM } from "./bloom.ts";

export const FALCON: Family = {
  ...BLOOM,
  modelType: "falcon",
  architecture: "FalconForCausalLM",
  configClass: "FalconConfig",
  computes: {
    ...BLOOM.computes,
    biases: { qkv: "bias", o: "bias", mlp: "bias" },
    embeddingNorm: false,
    norms: "shared",
    parallel: true,
    parallelNorms: "shared",
    unrotated: "none",
    kvHeads: "any",
  },
  config: {
    ...BLOOM.config,
    names: {
      num_key_value_heads: "num_kv_heads",
      intermediate_size: "ffn_hidden_size",
      hidden_act: "activation",
    },
    aliases: [],
    fixedKeys: {},
    ownKeys: "falcon",
  },
  stored: {
    ...BLOOM.stored,
    namesBeside: { input_layernorm: "ln_attn", post_attention_layernorm: "ln_mlp" },
    outerNames: { embed_tokens: "word_embeddings", layers: "h", norm: "ln_f" },
  },
  readers: { ...BLOOM.readers, vllmIgnores: ["neurons"] },
  defaults: {
    ...BLOOM.defaults,
    sizes: { vocab: 65_024, hidden: 4544, neurons: 18_176, layers: 32, heads: 71 },
    tokenIds: { bos_token_id: 11, eos_token_id: 11, pad_token_id: null },
    activation: "gelu",
  },
};
