/**
 * OLMo 1, 2 and 3, OLMo Hybrid, OLMoE and FlexOlmo (files of transformers by the names olmo, olmo2, olmo3, olmo_hybrid,
 * olmoe and flex_olmo).
 */
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
    disputedRopeTheta: true,
  },
};

/**
 * Most layers have linear attention, by a delta rule that may overcorrect, and norms on the inputs of blocks; those with
 * attention are OLMo 3's, and not rotated in published models.
 */
export const OLMO_HYBRID: Family = {
  ...OLMO2,
  modelType: "olmo_hybrid",
  architecture: "OlmoHybridForCausalLM",
  configClass: "OlmoHybridConfig",
  config: { ...LLAMA.config, ownKeys: "olmo_hybrid" },
  stored: {
    ...OLMO2.stored,
    names: {
      ...OLMO2.stored.names,
      "linear_attn.in_proj_z": "linear_attn.g_proj",
      "linear_attn.in_proj_a": "linear_attn.a_proj",
      "linear_attn.in_proj_b": "linear_attn.b_proj",
      "linear_attn.norm": "linear_attn.o_norm",
      "linear_attn.out_proj": "linear_attn.o_proj",
    },
    // Names that transformers 5 changes when it saves such a model (conversion_mapping.py).
    namesInMemory: {
      attention_layer_norm: "input_layernorm",
      feedforward_layer_norm: "post_attention_layernorm",
    },
    linearParts: {
      "linear_attn.in_proj_qkv": ["linear_attn.q_proj", "linear_attn.k_proj", "linear_attn.v_proj"],
      "linear_attn.conv1d": ["linear_attn.q_conv1d", "linear_attn.k_conv1d", "linear_attn.v_conv1d"],
    },
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.3",
    vllmBackend: false,
    vllmReadsHeadDim: false,
    vllmOmits: ["qkv", "o"],
    transformersJs: { modelType: "qwen3_next", architecture: "Qwen3NextForCausalLM" },
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...OLMO_DEFAULTS,
    sizes: { vocab: 100_352, hidden: 3840, neurons: 11_008, layers: 32, heads: 30 },
    normEps: 1e-6,
    positions: 65_536,
    tokenIds: { bos_token_id: null, eos_token_id: 100_257, pad_token_id: 100_277 },
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
