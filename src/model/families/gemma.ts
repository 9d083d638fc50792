/** Gemma 1 to 4, Gemma 3n and VaultGemma (configuration_*gemma*.py and modeling files of transformers). */

import { EXPERT_SCALES, ROUTER, ROUTER_NORM } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { outerNamesOf, STREAMS_IN, STREAMS_OUT } from "../stream_updates.ts";
import { LLAMA } from "./llama.ts";

const GEMMA_DEFAULTS = {
  ...LLAMA.defaults,
  sizes: { vocab: 256_000, hidden: 2304, neurons: 9216, layers: 26, heads: 8 },
  tiedEmbeddings: true,
  positions: 8192,
  kvHeads: 4,
  tokenIds: { bos_token_id: 2, eos_token_id: 1, pad_token_id: 0 },
  activation: "gelu_pytorch_tanh",
  headDim: 256,
} as const;

export const GEMMA: Family = {
  ...LLAMA,
  modelType: "gemma",
  architecture: "GemmaForCausalLM",
  configClass: "GemmaConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    normOffset: 1,
    scaledEmbeddings: true,
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, geluIsTanh: true },
  readers: { ...LLAMA.readers, vllmOmits: ["qkv", "o"] },
  defaults: {
    ...GEMMA_DEFAULTS,
    sizes: { vocab: 256_000, hidden: 3072, neurons: 24_576, layers: 28, heads: 16 },
    kvHeads: 16,
  },
};

export const GEMMA2: Family = {
  ...LLAMA,
  modelType: "gemma2",
  architecture: "Gemma2ForCausalLM",
  configClass: "Gemma2Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    norms: "around",
    normOffset: 1,
    scaledEmbeddings: true,
    scoreScale: "query_pre_attn_scalar",
    capsScores: true,
    capsLogits: true,
    windows: "layer_types",
  },
  config: { ...LLAMA.config, activationKeys: ["hidden_activation", "hidden_act"] },
  defaults: {
    ...GEMMA_DEFAULTS,
    scoreScalar: 256,
    scoreSoftcap: 50,
    logitSoftcap: 30,
    window: 4096,
    windowPattern: 2,
  },
};

export const VAULTGEMMA: Family = {
  ...GEMMA2,
  modelType: "vaultgemma",
  architecture: "VaultGemmaForCausalLM",
  configClass: "VaultGemmaConfig",
  computes: { ...GEMMA2.computes, norms: "before" },
  stored: { ...GEMMA2.stored, names: { post_attention_layernorm: "pre_feedforward_layernorm" } },
  readers: { ...GEMMA2.readers, vllmClass: false, standsIn: false },
};

export const GEMMA3: Family = {
  ...LLAMA,
  modelType: "gemma3_text",
  architecture: "Gemma3ForCausalLM",
  configClass: "Gemma3TextConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "head",
    norms: "around",
    normOffset: 1,
    scaledEmbeddings: true,
    scoreScale: "query_pre_attn_scalar",
    capsLogits: true,
    windows: "layer_types",
    ropeByLayerType: true,
  },
  config: { ...LLAMA.config, activationKeys: ["hidden_activation"], readsWindowPattern: true },
  defaults: {
    ...GEMMA_DEFAULTS,
    sizes: { ...GEMMA_DEFAULTS.sizes, vocab: 262_208 },
    positions: 131_072,
    ropeTheta: 1_000_000,
    scoreScalar: 256,
    window: 4096,
    localRopeTheta: 10_000,
    windowPattern: 6,
  },
};

/** Gemma 3n (configuration_gemma3n.py, modeling_gemma3n.py). */
export const GEMMA3N: Family = {
  ...GEMMA3,
  modelType: "gemma3n_text",
  architecture: "Gemma3nForCausalLM",
  configClass: "Gemma3nTextConfig",
  computes: {
    ...GEMMA3.computes,
    normOffset: 0,
    scoreScale: "none",
    valueNorm: true,
    neuronsByLayer: true,
  },
  config: {
    ...GEMMA3.config,
    fixedKeys: { altup_active_idx: 0, altup_correct_scale: true },
    readsWindowPattern: false,
    ownKeys: "gemma3n",
  },
  stored: {
    ...GEMMA3.stored,
    outsideLayers: { first: outerNamesOf(STREAMS_IN), last: outerNamesOf(STREAMS_OUT) },
  },
  readers: {
    ...GEMMA3.readers,
    vllmIgnores: ["separate_head", "shared_layers"],
    transformersJs: GEMMA2,
    standsIn: false,
  },
  defaults: {
    ...GEMMA_DEFAULTS,
    sizes: { vocab: 262_400, hidden: 2048, neurons: 16_384, layers: 35, heads: 8 },
    positions: 32_768,
    kvHeads: 2,
    ropeTheta: 1_000_000,
    localRopeTheta: 10_000,
    logitSoftcap: 30,
    window: 512,
    windowPattern: 5,
  },
};

/**
 * Gemma 4 (configuration_gemma4.py, modeling_gemma4.py). In models with experts, these are beside the FFN of every
 * layer, which thus is that of every token.
 */
export const GEMMA4: Family = {
  ...GEMMA3,
  modelType: "gemma4_text",
  architecture: "Gemma4ForCausalLM",
  configClass: "Gemma4TextConfig",
  computes: {
    ...GEMMA3.computes,
    normOffset: 0,
    scoreScale: "none",
    valueNorm: true,
    layerScalars: true,
    headDimByLayer: true,
    scaledRotary: "all",
    headsDivideHidden: false,
  },
  config: { ...GEMMA3.config, scalingTypeKey: null, readsWindowPattern: false, ownKeys: "gemma4" },
  stored: {
    ...GEMMA3.stored,
    namesWithExperts: {
      [ROUTER]: "router.proj",
      [ROUTER_NORM]: "router.scale",
      [EXPERT_SCALES]: "router.per_expert_scale",
      "mlp.shared_expert.gate_proj": "mlp.gate_proj",
      "mlp.shared_expert.up_proj": "mlp.up_proj",
      "mlp.shared_expert.down_proj": "mlp.down_proj",
    },
    experts: [
      { name: "experts.gate_up_proj", parts: ["gate_proj", "up_proj"] },
      { name: "experts.down_proj", parts: ["down_proj"] },
    ],
  },
  readers: {
    ...GEMMA3.readers,
    transformersSince: "5.5",
    vllmExperts: "gelu_tanh",
    transformersJs: GEMMA2,
    standsIn: false,
  },
  defaults: {
    ...GEMMA_DEFAULTS,
    sizes: { vocab: 262_144, hidden: 2304, neurons: 9216, layers: 30, heads: 8 },
    positions: 131_072,
    ropeTheta: 1_000_000,
    localRopeTheta: 10_000,
    window: 512,
    windowPattern: 6,
  },
};
