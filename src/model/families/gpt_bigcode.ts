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
  fixedKeys: { multi_query: true, scale_attn_weights: true },
  storesTransposed: false,
  kvHeads: "one",
  vllmClass: false,
  vllmBackend: true,
  defaults: { ...GPT2.defaults, activation: "gelu_pytorch_tanh" },
};
