/** OLMo 1, 2 and 3, OLMoE and FlexOlmo (files of transformers by the names olmo, olmo2, olmo3, olmoe and flex_olmo). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP } from "./qwen.ts";

const OLMO_DEFAULTS = {
  ...LLAMA.defaults,
  sizes: { vocab: 50_304, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
  normEps: 1e-5,
  tokenIds: { bos_token_id: null, eos_token_id: 50_279, pad_token_id: 1 },
} as const;

/** Norms have no parameters. */
export const OLMO: Family = {
  ...LLAMA,
  modelType: "olmo",
  architecture: "OlmoForCausalLM",
  configClass: "OlmoConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    normType: "layer",
    normParameters: "none",
    clipsProjections: true,
  },
  config: { ...LLAMA.config, normEpsKey: null, scalingTypeKey: "type" },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: OLMO_DEFAULTS,
};

export const OLMO2: Family = {
  ...LLAMA,
  modelType: "olmo2",
  architecture: "Olmo2ForCausalLM",
  configClass: "Olmo2Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "projection",
    norms: "after",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, scalingTypeKey: "type" },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false, tokenizer: "file" },
  defaults: OLMO_DEFAULTS,
};

export const OLMO3: Family = {
  ...OLMO2,
  modelType: "olmo3",
  architecture: "Olmo3ForCausalLM",
  configClass: "Olmo3Config",
  computes: { ...OLMO2.computes, windows: "layer_types", ropeByLayerType: true },
  config: { ...OLMO2.config, scalingTypeKey: "rope_type" },
  defaults: {
    ...OLMO_DEFAULTS,
    ropeTheta: 500_000,
    window: 4096,
    windowPattern: 4,
    localRopeTheta: 500_000,
  },
};

export const OLMOE: Family = {
  ...LLAMA,
  modelType: "olmoe",
  architecture: "OlmoeForCausalLM",
  configClass: "OlmoeConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "projection",
    clipsProjections: true,
    headsFillHidden: true,
  },
  config: { ...LLAMA.config, ownKeys: "olmoe" },
  stored: { ...LLAMA.stored, experts: EXPERTS_OF_MLP },
  readers: {
    ...LLAMA.readers,
    vllmReadsHeadDim: false,
    vllmIgnores: ["clipping", "expert_shares", "norm_eps", "tied_head"],
    vllmOmits: ["qkv", "o"],
    transformersJs: OLMO2,
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...OLMO_DEFAULTS,
    sizes: { vocab: 50_304, hidden: 2048, neurons: 2048, layers: 16, heads: 16 },
    positions: 4096,
  },
};

/** An OLMo 2 with the experts of OLMoE. */
export const FLEX_OLMO: Family = {
  ...OLMO2,
  modelType: "flex_olmo",
  architecture: "FlexOlmoForCausalLM",
  configClass: "FlexOlmoConfig",
  config: { ...LLAMA.config, ownKeys: "flex_olmo" },
  stored: OLMOE.stored,
  readers: { ...OLMO2.readers, transformersJs: OLMO2 },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 100_352, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
    ropeTheta: 500_000,
    positions: 4096,
    tokenIds: { bos_token_id: null, eos_token_id: 100_257, pad_token_id: 100_277 },
  },
};
