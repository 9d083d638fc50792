/** Phi 1, 1.5 and 2 (configuration_phi.py and modeling_phi.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const PHI: Family = {
  ...LLAMA,
  modelType: "phi",
  architecture: "PhiForCausalLM",
  configClass: "PhiConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "always", o: "always", mlp: "always" },
    gated: false,
    headBias: true,
    norms: "shared",
    normType: "layer",
    normParameters: "weight_and_bias",
    parallel: true,
    parallelNorms: "shared",
    partialRotary: true,
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, normEpsKey: "layer_norm_eps", fixedKeys: { qk_layernorm: false } },
  stored: {
    ...LLAMA.stored,
    names: {
      "self_attn.o_proj": "self_attn.dense",
      "mlp.up_proj": "mlp.fc1",
      "mlp.down_proj": "mlp.fc2",
    },
    outerNames: { norm: "final_layernorm" },
  },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 51_200, hidden: 2048, neurons: 8192, layers: 24, heads: 32 },
    normEps: 1e-5,
    rotaryPart: 0.5,
    activation: "gelu_new",
  },
};
