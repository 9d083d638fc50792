/** Granite (configuration_granite.py, modeling_granite.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const GRANITE: Family = {
  ...LLAMA,
  modelType: "granite",
  architecture: "GraniteForCausalLM",
  configClass: "GraniteConfig",
  computes: {
    ...LLAMA.computes,
    scoreScale: "attention_multiplier",
    multipliers: true,
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, logitScale: { key: "logits_scaling", is: "divisor" } },
  readers: { ...LLAMA.readers, standsIn: false, tokenizer: "file" },
  defaults: { ...LLAMA.defaults, attentionMultiplier: 1 },
};
