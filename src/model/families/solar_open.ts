/** Solar Open (configuration_solar_open.py, modeling_solar_open.py of transformers). */
import type { Family } from "../family.ts";
import { GLM4_MOE } from "./glm.ts";
import { LLAMA } from "./llama.ts";

/** A GLM-4.5 without norms of queries and keys, and with experts in all layers. The class is one of transformers 5. */
export const SOLAR_OPEN: Family = {
  ...GLM4_MOE,
  modelType: "solar_open",
  architecture: "SolarOpenForCausalLM",
  configClass: "SolarOpenConfig",
  computes: { ...GLM4_MOE.computes, qkNorm: null },
  config: { ...LLAMA.config, fixedKeys: GLM4_MOE.config.fixedKeys, ownKeys: "solar_open" },
  readers: { ...LLAMA.readers, transformersSince: "5.0", vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 196_608, hidden: 4096, neurons: 1280, layers: 48, heads: 64 },
    normEps: 1e-5,
    ropeTheta: 1_000_000,
    positions: 131_072,
    kvHeads: 8,
    headDim: 128,
    tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
  },
};
