/** HyperCLOVA X (configuration_hyperclovax.py, modeling_hyperclovax.py of transformers 5). */
import type { Family } from "../family.ts";
import { GRANITE } from "./granite.ts";
import { LLAMA } from "./llama.ts";

export const HYPERCLOVAX: Family = {
  ...GRANITE,
  modelType: "hyperclovax",
  architecture: "HyperCLOVAXForCausalLM",
  configClass: "HyperCLOVAXConfig",
  norms: "around",
  fixedKeys: { use_post_norm: true },
  logitScale: { key: "logits_scaling", is: "factor" },
  storedNames: {
    post_attention_layernorm: "post_norm1",
    pre_feedforward_layernorm: "post_attention_layernorm",
    post_feedforward_layernorm: "post_norm2",
  },
  headsDivideHidden: true,
  transformersJsType: "llama",
  defaults: LLAMA.defaults,
};
