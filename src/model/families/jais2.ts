/** Jais 2 (configuration_jais2.py and modeling_jais2.py of transformers 5). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const JAIS2: Family = {
  ...LLAMA,
  modelType: "jais2",
  architecture: "Jais2ForCausalLM",
  configClass: "Jais2Config",
  computes: { ...LLAMA.computes, gated: false, normType: "layer", normParameters: "weight_and_bias" },
  config: { ...LLAMA.config, normEpsKey: "layer_norm_eps" },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.0",
    vllmClass: false,
    transformersJs: LLAMA,
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 150_272, hidden: 3328, neurons: 26_624, layers: 32, heads: 26 },
    normEps: 1e-5,
    positions: 8192,
    tokenIds: { bos_token_id: 0, eos_token_id: 150_024, pad_token_id: null },
    activation: "relu2",
    biased: ["attention_bias", "mlp_bias"],
  },
};
