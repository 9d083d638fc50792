/** Mistral, Mixtral, Ministral and Ministral 3 (configuration and modeling files of transformers by these names). */
import type { Family } from "../family.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";

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
