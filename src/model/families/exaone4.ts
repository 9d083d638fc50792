/** EXAONE 4 (configuration_exaone4.py, modeling_exaone4.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";

export const EXAONE4: Family = {
  ...LLAMA,
  modelType: "exaone4",
  architecture: "Exaone4ForCausalLM",
  configClass: "Exaone4Config",
  computes: {
    ...LLAMA.computes,
    biases: NO_BIASES,
    qkNorm: "head",
    norms: "after",
    windows: "layer_types",
    unrotated: "unwindowed",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, readsWindowPattern: true },
  readers: { ...LLAMA.readers, transformersJs: LLAMA, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 102_400, hidden: 4096, neurons: 16_384, layers: 32, heads: 32 },
    normEps: 1e-5,
    kvHeads: 32,
    tokenIds: { bos_token_id: 0, eos_token_id: 2, pad_token_id: null },
    window: 4096,
    windowPattern: 4,
  },
};
