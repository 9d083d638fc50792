/** Helium 1 (configuration_helium.py, modeling_helium.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const HELIUM: Family = {
  ...LLAMA,
  modelType: "helium",
  architecture: "HeliumForCausalLM",
  configClass: "HeliumConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "never", mlp: "mlp_bias" },
    headsFillHidden: true,
    headsDivideHidden: false,
  },
  stored: { ...LLAMA.stored, rotatedOrder: "pairs" },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 48_000, hidden: 2560, neurons: 7040, layers: 24, heads: 20 },
    normEps: 1e-8,
    ropeTheta: 100_000,
    positions: 4096,
    kvHeads: 20,
    headDim: 128,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 3 },
  },
};
