/** dots.llm1 (configuration_dots1.py, modeling_dots1.py of transformers). */
import type { Family } from "../family.ts";
import { GLM4_MOE } from "./glm.ts";
import { LLAMA } from "./llama.ts";

/** Experts are those of GLM-4.5, and windows, which no published model has, those of the last layers. */
export const DOTS1: Family = {
  ...LLAMA,
  modelType: "dots1",
  architecture: "Dots1ForCausalLM",
  configClass: "Dots1Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "head",
    windows: "layer_types",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, fixedKeys: GLM4_MOE.config.fixedKeys, ownKeys: "dots1" },
  stored: GLM4_MOE.stored,
  readers: { ...LLAMA.readers, vllmClass: false, transformersJs: LLAMA, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 152_064, hidden: 4608, neurons: 10_944, layers: 62, heads: 32 },
    kvHeads: 32,
    window: 4096,
    tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
  },
};
