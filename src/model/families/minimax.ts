/** MiniMax-M2 (configuration_minimax_m2.py, modeling_minimax_m2.py of transformers). */

import { CORRECTION } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";
import { MIXTRAL } from "./mistral.ts";

/** The class has sigmoids and score correction biases, whatever config.json says. It is one of transformers 5. */
export const MINIMAX_M2: Family = {
  ...LLAMA,
  modelType: "minimax_m2",
  architecture: "MiniMaxM2ForCausalLM",
  configClass: "MiniMaxM2Config",
  computes: {
    ...LLAMA.computes,
    biases: NO_BIASES,
    qkNorm: "projection",
    partialRotary: true,
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    fixedKeys: { scoring_func: "sigmoid", use_routing_bias: true },
    ownKeys: "minimax_m2",
  },
  stored: {
    ...LLAMA.stored,
    names: {
      "mlp.gate": "block_sparse_moe.gate",
      [CORRECTION]: "block_sparse_moe.e_score_correction_bias",
    },
    namesInMemory: {
      "mlp.gate": "block_sparse_moe.gate",
      "mlp.e_score_correction_bias": "block_sparse_moe.e_score_correction_bias",
    },
    experts: MIXTRAL.stored.experts,
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.0",
    vllmIgnores: ["tied_head"],
    transformersJs: LLAMA,
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 200_064, hidden: 3072, neurons: 1536, layers: 62, heads: 48 },
    ropeTheta: 5_000_000,
    positions: 196_608,
    kvHeads: 8,
    headDim: 128,
    tokenIds: { bos_token_id: 200_034, eos_token_id: 200_020, pad_token_id: null },
  },
};
