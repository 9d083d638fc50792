/**
 * Nemotron 3 and 4, and Minitron (configuration_nemotron.py and modeling_nemotron.py of transformers). The class of
 * transformers 4 does not scale rotary frequencies.
 */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const NEMOTRON: Family = {
  ...LLAMA,
  modelType: "nemotron",
  architecture: "NemotronForCausalLM",
  configClass: "NemotronConfig",
  computes: {
    ...LLAMA.computes,
    gated: false,
    normType: "layer",
    normOffset: 1,
    normParameters: "weight_and_bias",
    partialRotary: true,
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, normEpsKey: "norm_eps" },
  readers: { ...LLAMA.readers, transformersJs: LLAMA, standsIn: false, tokenizer: "file" },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 256_000, hidden: 6144, neurons: 24_576, layers: 32, heads: 48 },
    normEps: 1e-5,
    positions: 4096,
    rotaryPart: 0.5,
    tokenIds: { bos_token_id: 2, eos_token_id: 3, pad_token_id: null },
    activation: "relu2",
  },
};
