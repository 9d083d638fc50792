/** HyperCLOVA X (configuration_hyperclovax.py, modeling_hyperclovax.py of transformers 5). */
import type { Family } from "../family.ts";
import { GRANITE } from "./granite.ts";
import { LLAMA } from "./llama.ts";

export const HYPERCLOVAX: Family = {
  ...GRANITE,
  modelType: "hyperclovax",
  architecture: "HyperCLOVAXForCausalLM",
  configClass: "HyperCLOVAXConfig",
  computes: { ...GRANITE.computes, norms: "around", headsDivideHidden: true },
  config: {
    ...GRANITE.config,
    fixedKeys: { use_post_norm: true },
    logitScale: { key: "logits_scaling", is: "factor" },
  },
  stored: {
    ...GRANITE.stored,
    names: {
      post_attention_layernorm: "post_norm1",
      pre_feedforward_layernorm: "post_attention_layernorm",
      post_feedforward_layernorm: "post_norm2",
    },
  },
  readers: { ...GRANITE.readers, transformersSince: "5.0", transformersJs: LLAMA },
  defaults: LLAMA.defaults,
};
