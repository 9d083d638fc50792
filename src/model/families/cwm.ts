/** CWM, a Llama 3 with windows (configuration_cwm.py and modeling_cwm.py of transformers 5). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const CWM: Family = {
  ...LLAMA,
  modelType: "cwm",
  architecture: "CwmForCausalLM",
  configClass: "CwmConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "never", o: "never", mlp: "mlp_bias" },
    windows: "layer_types",
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.0",
    vllmClass: false,
    transformersJs: LLAMA,
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 128_256, hidden: 6144, neurons: 21_504, layers: 64, heads: 48 },
    normEps: 1e-5,
    ropeTheta: 1_000_000,
    scaling: { type: "llama3", factor: 16, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
    positions: 131_072,
    kvHeads: 8,
    headDim: 128,
    tokenIds: { bos_token_id: 128_000, eos_token_id: [128_001, 128_008, 128_009], pad_token_id: null },
    window: 8192,
    windowPattern: 4,
    firstUnwindowed: true,
  },
};
