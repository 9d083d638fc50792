/** Laguna of Poolside (configuration_laguna.py, modeling_laguna.py of transformers; laguna.py of vLLM). */

import { CORRECTION } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { ATTENTION_GATES } from "../weight_names.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP, SHARED_EXPERTS } from "./qwen.ts";

/** Files have the usual names of the shared expert, the class those of other families. */
const SHARED_IN_MEMORY = Object.fromEntries(
  Object.entries(SHARED_EXPERTS).map(([inFiles, inMemory]) => [inMemory, inFiles]),
);

/**
 * Attention's outputs are multiplied by the softplus of a gate for each head, or for each channel of all heads; layers
 * may have different numbers of query heads, and rotations and windows by type. Routers are corrected sigmoids. The
 * class is of transformers 5, and knows gates for each channel since 5.15.
 */
export const LAGUNA: Family = {
  ...LLAMA,
  modelType: "laguna",
  architecture: "LagunaForCausalLM",
  configClass: "LagunaConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "head",
    gatedAttention: "head_gates",
    softplusGates: true,
    windows: "layer_types",
    ropeByLayerType: true,
    partialRotary: true,
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    fixedKeys: {
      moe_router_logit_softcapping: 0,
      moe_apply_router_weight_on_input: false,
      moe_router_score_func: "sigmoid",
      swa_attention_sink_enabled: false,
      norm_topk_prob: true,
    },
    scalingTypeKey: null,
    ownKeys: "laguna",
  },
  stored: {
    ...LLAMA.stored,
    names: { [CORRECTION]: "mlp.experts.e_score_correction_bias", [ATTENTION_GATES]: "self_attn.g_proj" },
    namesInMemory: { [CORRECTION]: "mlp.experts.e_score_correction_bias", ...SHARED_IN_MEMORY },
    experts: EXPERTS_OF_MLP,
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.7",
    vllmIgnores: ["activation"],
    transformersJs: LLAMA,
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 100_352, hidden: 2048, neurons: 8192, layers: 40, heads: 48 },
    ropeTheta: 500_000,
    localRopeTheta: 10_000,
    positions: 131_072,
    kvHeads: 8,
    headDim: 128,
    tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
    window: 512,
  },
};
