/** SmolLM3 (configuration_smollm3.py, modeling_smollm3.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const SMOLLM3: Family = {
  ...LLAMA,
  modelType: "smollm3",
  architecture: "SmolLM3ForCausalLM",
  configClass: "SmolLM3Config",
  computes: { ...LLAMA.computes, windows: "layer_types", unrotated: "flags", headsDivideHidden: false },
  config: { ...LLAMA.config, windowSwitch: true },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 128_256, hidden: 2048, neurons: 11_008, layers: 36, heads: 16 },
    tiedEmbeddings: true,
    ropeTheta: 2_000_000,
    positions: 32_768,
    kvHeads: 4,
    tokenIds: { bos_token_id: 128_000, eos_token_id: 128_001, pad_token_id: 128_004 },
    unrotatedEvery: 4,
  },
};
