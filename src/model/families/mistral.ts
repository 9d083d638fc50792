/**
 * Mistral, Mixtral, Ministral, Ministral 3 and Mistral 4 (configuration and modeling files of transformers by these
 * names).
 */
import type { Family } from "../family.ts";
import { DEEPSEEK_V3 } from "./deepseek.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";
import { STACKED_EXPERTS } from "./qwen.ts";

export const MISTRAL: Family = {
  ...LLAMA,
  modelType: "mistral",
  architecture: "MistralForCausalLM",
  configClass: "MistralConfig",
  computes: { ...LLAMA.computes, biases: NO_BIASES, windows: "all", headsDivideHidden: false },
  readers: { ...LLAMA.readers, tokenizer: "file" },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 32_000, hidden: 4096, neurons: 14_336, layers: 32, heads: 32 },
    positions: 131_072,
    kvHeads: 8,
    window: 4096,
  },
};

export const MIXTRAL: Family = {
  ...MISTRAL,
  modelType: "mixtral",
  architecture: "MixtralForCausalLM",
  configClass: "MixtralConfig",
  config: { ...MISTRAL.config, ownKeys: "mixtral" },
  stored: {
    ...MISTRAL.stored,
    names: { "mlp.gate": "block_sparse_moe.gate" },
    namesInMemory: { "mlp.gate": "block_sparse_moe.gate" },
    experts: [
      { name: "block_sparse_moe.experts.*.w1.weight", parts: ["gate_proj"] },
      { name: "block_sparse_moe.experts.*.w2.weight", parts: ["down_proj"] },
      { name: "block_sparse_moe.experts.*.w3.weight", parts: ["up_proj"] },
    ],
  },
  readers: { ...MISTRAL.readers, transformersJs: MISTRAL, standsIn: false },
  defaults: { ...MISTRAL.defaults, normEps: 1e-5, ropeTheta: 1_000_000, window: null },
};

/** A Mistral with windows in some layers. */
export const MINISTRAL: Family = {
  ...MISTRAL,
  modelType: "ministral",
  architecture: "MinistralForCausalLM",
  configClass: "MinistralConfig",
  computes: { ...MISTRAL.computes, windows: "all_or_layer_types" },
  readers: { ...MISTRAL.readers, vllmClass: false, transformersJs: MISTRAL },
};

export const MINISTRAL3: Family = {
  ...LLAMA,
  modelType: "ministral3",
  architecture: "Ministral3ForCausalLM",
  configClass: "Ministral3Config",
  computes: {
    ...LLAMA.computes,
    biases: NO_BIASES,
    windows: "all",
    growsQueries: true,
    headsDivideHidden: false,
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.0",
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 131_072, hidden: 4096, neurons: 14_336, layers: 34, heads: 32 },
    normEps: 1e-5,
    ropeTheta: 1_000_000,
    positions: 262_144,
    kvHeads: 8,
    headDim: 128,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 11 },
  },
};

/** Mistral Small 4: DeepSeek V3 with queries that grow, and experts that are picked by a softmax. */
export const MISTRAL4: Family = {
  ...DEEPSEEK_V3,
  modelType: "mistral4",
  architecture: "Mistral4ForCausalLM",
  configClass: "Mistral4Config",
  computes: { ...DEEPSEEK_V3.computes, growsQueries: true },
  config: {
    ...DEEPSEEK_V3.config,
    fixedKeys: { rope_interleave: true },
    ownKeys: "mistral4",
    scalingTypeKey: null,
  },
  stored: { ...DEEPSEEK_V3.stored, experts: STACKED_EXPERTS },
  readers: { ...DEEPSEEK_V3.readers, transformersSince: "5.4", notAuto: true, vllmClass: false },
  defaults: {
    ...DEEPSEEK_V3.defaults,
    sizes: { vocab: 131_072, hidden: 4096, neurons: 12_288, layers: 36, heads: 32 },
    positions: 1_048_576,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 11 },
  },
};
