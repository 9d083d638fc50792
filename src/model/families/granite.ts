/** Granite (configuration_granite.py, modeling_granite.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const GRANITE: Family = {
  ...LLAMA,
  modelType: "granite",
  architecture: "GraniteForCausalLM",
  configClass: "GraniteConfig",
  scoreScale: "attention_multiplier",
  logitScale: { key: "logits_scaling", is: "divisor" },
  multipliers: true,
  headsDivideHidden: false,
  standsIn: false,
  tokenizer: "file",
  defaults: { ...LLAMA.defaults, attentionMultiplier: 1 },
};
