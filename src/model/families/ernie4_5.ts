/** ERNIE 4.5, dense and with experts (their configuration and modeling files in transformers). */

import { CORRECTION } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";
import { EXPERTS_OF_MLP, SHARED_EXPERTS } from "./qwen.ts";

const DEFAULTS = {
  ...LLAMA.defaults,
  tiedEmbeddings: true,
  normEps: 1e-5,
  ropeTheta: 500_000,
  positions: 131_072,
  tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 },
} as const;

export const ERNIE4_5: Family = {
  ...LLAMA,
  modelType: "ernie4_5",
  architecture: "Ernie4_5ForCausalLM",
  configClass: "Ernie4_5Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "use_bias", o: "use_bias", mlp: "use_bias" },
    headsDivideHidden: false,
  },
  stored: { ...LLAMA.stored, rotatedOrder: "pairs" },
  readers: { ...LLAMA.readers, vllmOmits: ["qkv", "o", "mlp"], standsIn: false, tokenizer: "file" },
  defaults: {
    ...DEFAULTS,
    sizes: { vocab: 103_424, hidden: 1024, neurons: 3072, layers: 18, heads: 16 },
    kvHeads: 2,
    headDim: 128,
  },
};

/** The text model with experts, in the layers of an interval. No published model has biases. */
export const ERNIE4_5_MOE: Family = {
  ...ERNIE4_5,
  modelType: "ernie4_5_moe",
  architecture: "Ernie4_5_MoeForCausalLM",
  configClass: "Ernie4_5_MoeConfig",
  computes: { ...ERNIE4_5.computes, biases: NO_BIASES },
  config: { ...ERNIE4_5.config, fixedKeys: { use_bias: false }, ownKeys: "ernie4_5_moe" },
  stored: {
    ...ERNIE4_5.stored,
    names: { ...SHARED_EXPERTS, [CORRECTION]: "mlp.moe_statics.e_score_correction_bias" },
    namesInMemory: { "mlp.gate.moe_statics": "mlp.moe_statics" },
    experts: EXPERTS_OF_MLP,
    correctionsInRows: true,
  },
  readers: { ...ERNIE4_5.readers, vllmOmits: [], transformersJs: ERNIE4_5 },
  defaults: {
    ...DEFAULTS,
    sizes: { vocab: 103_424, hidden: 2560, neurons: 12_288, layers: 28, heads: 20 },
    kvHeads: 4,
  },
};
