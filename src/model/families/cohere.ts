/**
 * Command R, Command R7B and A, and North Mini Code and Command A+ (configuration_cohere.py, configuration_cohere2.py,
 * configuration_cohere2_moe.py and modeling files).
 */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP, SHARED_EXPERTS } from "./qwen.ts";

export const COHERE: Family = {
  ...LLAMA,
  modelType: "cohere",
  architecture: "CohereForCausalLM",
  configClass: "CohereConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "each_head",
    norms: "shared",
    normType: "layer",
    parallel: true,
    parallelNorms: "shared",
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    qkNormFlag: "use_qk_norm",
    normEpsKey: "layer_norm_eps",
    logitScale: { key: "logit_scale", is: "factor" },
    readsMaxLength: true,
  },
  stored: { ...LLAMA.stored, rotatedOrder: "pairs" },
  readers: {
    ...LLAMA.readers,
    vllmIgnores: ["activation", "separate_head"],
    vllmOmits: ["qkv", "o"],
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 256_000, hidden: 8192, neurons: 22_528, layers: 40, heads: 64 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    // Of transformers 5; 10,000 in version 4, which writes it into every config.json.
    ropeTheta: 500_000,
    positions: 8192,
    logitScale: 0.0625,
    tokenIds: { bos_token_id: 5, eos_token_id: 255_001, pad_token_id: 0 },
  },
};

export const COHERE2: Family = {
  ...COHERE,
  modelType: "cohere2",
  architecture: "Cohere2ForCausalLM",
  configClass: "Cohere2Config",
  computes: { ...COHERE.computes, qkNorm: null, windows: "layer_types", unrotated: "full_attention" },
  config: { ...COHERE.config, qkNormFlag: null, readsWindowPattern: true },
  readers: { ...COHERE.readers, vllmIgnores: [...COHERE.readers.vllmIgnores, "window"] },
  defaults: { ...COHERE.defaults, ropeTheta: 10_000, window: 4096, windowPattern: 4 },
};

/** Layers without experts are rotated even where they have no window, unless config.json says otherwise. */
export const COHERE2_MOE: Family = {
  ...COHERE2,
  modelType: "cohere2_moe",
  architecture: "Cohere2MoeForCausalLM",
  configClass: "Cohere2MoeConfig",
  config: { ...COHERE2.config, scalingTypeKey: null, ownKeys: "cohere2_moe" },
  stored: { ...COHERE2.stored, names: SHARED_EXPERTS, experts: EXPERTS_OF_MLP },
  readers: {
    ...COHERE2.readers,
    transformersSince: "5.9",
    transformersJs: LLAMA,
    vllmIgnores: [...COHERE2.readers.vllmIgnores, "late_dense_layers"],
  },
  defaults: { ...COHERE2.defaults, headDim: 128 },
};
