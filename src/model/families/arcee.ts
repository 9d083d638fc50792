/** Arcee, a Llama without a gate (configuration_arcee.py and modeling_arcee.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const ARCEE: Family = {
  ...LLAMA,
  modelType: "arcee",
  architecture: "ArceeForCausalLM",
  configClass: "ArceeConfig",
  computes: { ...LLAMA.computes, gated: false },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 32_000, hidden: 2560, neurons: 18_432, layers: 32, heads: 32 },
    normEps: 1e-5,
    positions: 4096,
    tokenIds: { bos_token_id: 128_000, eos_token_id: 128_001, pad_token_id: null },
    activation: "relu2",
  },
};
