/** Mellum 2 (configuration_mellum.py, modeling_mellum.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { QWEN3_MOE } from "./qwen.ts";

/** A Qwen3 with experts and windows, whose windowed layers have a rotation of their own. The class is of transformers 5. */
export const MELLUM: Family = {
  ...QWEN3_MOE,
  modelType: "mellum",
  architecture: "MellumForCausalLM",
  configClass: "MellumConfig",
  computes: { ...QWEN3_MOE.computes, windows: "layer_types", ropeByLayerType: true },
  config: { ...QWEN3_MOE.config, windowSwitch: false, scalingTypeKey: null, ownKeys: "mellum" },
  readers: { ...QWEN3_MOE.readers, transformersSince: "5.10", vllmClass: false, transformersJs: LLAMA },
  defaults: {
    ...QWEN3_MOE.defaults,
    sizes: { vocab: 98_304, hidden: 2304, neurons: 7168, layers: 28, heads: 32 },
    ropeTheta: 500_000,
    localRopeTheta: 10_000,
    positions: 131_072,
    headDim: 128,
    window: 1024,
  },
};
