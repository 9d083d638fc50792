/**
 * StarCoder and SantaCoder with one key/value head for all queries (configuration_gpt_bigcode.py and
 * modeling_gpt_bigcode.py of transformers).
 */
import type { Family } from "../family.ts";
import { GPT2 } from "./gpt2.ts";

export const GPT_BIGCODE: Family = {
  ...GPT2,
  modelType: "gpt_bigcode",
  architecture: "GPTBigCodeForCausalLM",
  configClass: "GPTBigCodeConfig",
  computes: { ...GPT2.computes, kvHeads: "one" },
  config: { ...GPT2.config, fixedKeys: { multi_query: true, scale_attn_weights: true } },
  stored: { ...GPT2.stored, transposed: false },
  readers: { ...GPT2.readers, vllmClass: false, vllmBackend: true },
  defaults: { ...GPT2.defaults, activation: "gelu_pytorch_tanh" },
};
