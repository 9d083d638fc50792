/** GPT-NeoX and Pythia (configuration_gpt_neox.py and modeling_gpt_neox.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const GPT_NEOX: Family = {
  ...LLAMA,
  modelType: "gpt_neox",
  architecture: "GPTNeoXForCausalLM",
  configClass: "GPTNeoXConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "always" },
    gated: false,
    normType: "layer",
    normParameters: "weight_and_bias",
    parallel: "use_parallel_residual",
    partialRotary: true,
    kvHeads: "each",
    headsFillHidden: true,
  },
  config: {
    ...LLAMA.config,
    normEpsKey: "layer_norm_eps",
    rotaryKeys: { theta: "rotary_emb_base", part: "rotary_pct" },
  },
  stored: {
    ...LLAMA.stored,
    fused: ["query_key_value"],
    prefixes: { decoder: "gpt_neox.", head: "embed_out." },
    names: {
      "self_attn.query_key_value": "attention.query_key_value",
      "self_attn.o_proj": "attention.dense",
      "mlp.up_proj": "mlp.dense_h_to_4h",
      "mlp.down_proj": "mlp.dense_4h_to_h",
    },
    outerNames: { embed_tokens: "embed_in", norm: "final_layer_norm" },
  },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 50_432, hidden: 6144, neurons: 24_576, layers: 44, heads: 64 },
    normEps: 1e-5,
    parallel: true,
    rotaryPart: 0.25,
    tokenIds: { bos_token_id: 0, eos_token_id: 2, pad_token_id: null },
    activation: "gelu",
    biased: ["attention_bias"],
  },
};
