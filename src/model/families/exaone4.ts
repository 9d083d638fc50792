/** EXAONE 4 and K-EXAONE (files of transformers by the names exaone4 and exaone_moe). */

import { CORRECTION } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { GLM4_MOE } from "./glm.ts";
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

/** K-EXAONE: norms are before the blocks, experts are those of GLM-4.5. The class is one of transformers 5.1. */
export const EXAONE_MOE: Family = {
  ...EXAONE4,
  modelType: "exaone_moe",
  architecture: "ExaoneMoeForCausalLM",
  configClass: "ExaoneMoeConfig",
  computes: { ...EXAONE4.computes, norms: "before" },
  config: { ...EXAONE4.config, fixedKeys: GLM4_MOE.config.fixedKeys, ownKeys: "exaone_moe" },
  stored: {
    ...GLM4_MOE.stored,
    names: { ...GLM4_MOE.stored.names, [CORRECTION]: "mlp.e_score_correction_bias" },
    namesInMemory: { [CORRECTION]: "mlp.e_score_correction_bias" },
  },
  readers: { ...EXAONE4.readers, transformersSince: "5.1" },
  defaults: { ...EXAONE4.defaults, tokenIds: { bos_token_id: 1, eos_token_id: 53, pad_token_id: 0 } },
};
