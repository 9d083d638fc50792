/**
 * The model families as data; no other file asks for a family by name. ARCHITECTURE.md shows how to add one.
 *
 * Facts from transformers' configuration_*.py and modeling_*.py of each family.
 */
import { GpruneError } from "../errors.ts";
import type { Family } from "./family.ts";

const NO_BIASES = { qkv: "never", o: "never", mlp: "never" } as const;

const LLAMA: Family = {
  modelType: "llama",
  alsoNamed: [],
  architecture: "LlamaForCausalLM",
  configClass: "LlamaConfig",
  activationKeys: ["hidden_act"],
  geluIsTanh: false,
  biases: { qkv: "attention_bias", o: "attention_bias", mlp: "mlp_bias" },
  qkNorm: null,
  norms: "before",
  normOffset: 0,
  scaledEmbeddings: false,
  scoreScale: "head_dim",
  capsScores: false,
  capsLogits: false,
  multipliers: false,
  windows: "none",
  readsWindowPattern: false,
  windowSwitch: false,
  unrotatedLayers: false,
  ropeByLayerType: false,
  growsQueries: false,
  fusedProjections: false,
  partialRotary: false,
  scaledRotary: "any",
  scalingNames: {},
  headsDivideHidden: true,
  vllmReadsHeadDim: true,
  vllmOmits: [],
  standsIn: true,
  tokenizer: "declared",
  defaults: {
    sizes: { vocab: 32_000, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
    tiedEmbeddings: false,
    normEps: 1e-6,
    ropeTheta: 10_000,
    positions: 2048,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: null },
    activation: "silu",
    window: null,
  },
};

const QWEN_DEFAULTS = {
  ...LLAMA.defaults,
  sizes: { vocab: 151_936, hidden: 4096, neurons: 22_016, layers: 32, heads: 32 },
  positions: 32_768,
  kvHeads: 32,
  tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
  window: 4096,
  firstWindowed: 28,
} as const;
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

export const FAMILIES: readonly Family[] = [
  LLAMA,
  {
    ...LLAMA,
    modelType: "mistral",
    // transformers reads a Mistral with `layer_types` as a Ministral (configuration_auto.py).
    alsoNamed: ["ministral"],
    architecture: "MistralForCausalLM",
    configClass: "MistralConfig",
    biases: NO_BIASES,
    windows: "all_but_layer_types",
    headsDivideHidden: false,
    tokenizer: "file",
    defaults: {
      ...LLAMA.defaults,
      sizes: { vocab: 32_000, hidden: 4096, neurons: 14_336, layers: 32, heads: 32 },
      positions: 131_072,
      kvHeads: 8,
      window: 4096,
    },
  },
  {
    ...LLAMA,
    modelType: "ministral3",
    architecture: "Ministral3ForCausalLM",
    configClass: "Ministral3Config",
    biases: NO_BIASES,
    windows: "all",
    growsQueries: true,
    headsDivideHidden: false,
    // transformers 4 has no such class.
    standsIn: false,
    tokenizer: "file",
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
  },
  {
    ...LLAMA,
    modelType: "qwen2",
    // Text models of Qwen2-VL and Qwen2.5-VL, whose positions in text alone are the usual ones.
    alsoNamed: ["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"],
    architecture: "Qwen2ForCausalLM",
    configClass: "Qwen2Config",
    biases: { qkv: "always", o: "never", mlp: "never" },
    windows: "layer_types",
    windowSwitch: true,
    headsDivideHidden: false,
    vllmReadsHeadDim: false,
    scalingNames: { mrope: "default" },
    tokenizer: "own",
    defaults: QWEN_DEFAULTS,
  },
  {
    ...LLAMA,
    modelType: "qwen3",
    alsoNamed: ["qwen3_vl_text"],
    architecture: "Qwen3ForCausalLM",
    configClass: "Qwen3Config",
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "head",
    windows: "layer_types",
    windowSwitch: true,
    headsDivideHidden: false,
    vllmOmits: ["o"],
    defaults: { ...QWEN_DEFAULTS, headDim: 128 },
  },
  {
    ...LLAMA,
    modelType: "gemma",
    architecture: "GemmaForCausalLM",
    configClass: "GemmaConfig",
    geluIsTanh: true,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    normOffset: 1,
    scaledEmbeddings: true,
    headsDivideHidden: false,
    vllmOmits: ["qkv", "o"],
    defaults: {
      ...GEMMA_DEFAULTS,
      sizes: { vocab: 256_000, hidden: 3072, neurons: 24_576, layers: 28, heads: 16 },
      kvHeads: 16,
    },
  },
  {
    ...LLAMA,
    modelType: "gemma2",
    architecture: "Gemma2ForCausalLM",
    configClass: "Gemma2Config",
    activationKeys: ["hidden_activation", "hidden_act"],
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    norms: "around",
    normOffset: 1,
    scaledEmbeddings: true,
    scoreScale: "query_pre_attn_scalar",
    capsScores: true,
    capsLogits: true,
    windows: "layer_types",
    defaults: {
      ...GEMMA_DEFAULTS,
      scoreScalar: 256,
      scoreSoftcap: 50,
      logitSoftcap: 30,
      window: 4096,
      windowPattern: 2,
    },
  },
  {
    ...LLAMA,
    modelType: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    configClass: "Gemma3TextConfig",
    activationKeys: ["hidden_activation"],
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "head",
    norms: "around",
    normOffset: 1,
    scaledEmbeddings: true,
    scoreScale: "query_pre_attn_scalar",
    capsLogits: true,
    windows: "layer_types",
    readsWindowPattern: true,
    ropeByLayerType: true,
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
  },
  {
    ...LLAMA,
    modelType: "phi3",
    architecture: "Phi3ForCausalLM",
    configClass: "Phi3Config",
    biases: NO_BIASES,
    windows: "all",
    fusedProjections: true,
    partialRotary: true,
    scaledRotary: "longrope",
    scalingNames: { su: "longrope", yarn: "longrope" },
    headsDivideHidden: false,
    tokenizer: "file",
    defaults: {
      ...LLAMA.defaults,
      sizes: { vocab: 32_064, hidden: 3072, neurons: 8192, layers: 32, heads: 32 },
      normEps: 1e-5,
      positions: 4096,
      originalPositions: 4096,
      tokenIds: { bos_token_id: 1, eos_token_id: 32_000, pad_token_id: 32_000 },
    },
  },
  {
    ...LLAMA,
    modelType: "granite",
    architecture: "GraniteForCausalLM",
    configClass: "GraniteConfig",
    scoreScale: "attention_multiplier",
    multipliers: true,
    headsDivideHidden: false,
    standsIn: false,
    tokenizer: "file",
  },
  {
    ...LLAMA,
    modelType: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    configClass: "SmolLM3Config",
    windows: "layer_types",
    windowSwitch: true,
    unrotatedLayers: true,
    headsDivideHidden: false,
    standsIn: false,
    defaults: {
      ...LLAMA.defaults,
      sizes: { vocab: 128_256, hidden: 2048, neurons: 11_008, layers: 36, heads: 16 },
      tiedEmbeddings: true,
      ropeTheta: 2_000_000,
      positions: 32_768,
      kvHeads: 4,
      tokenIds: { bos_token_id: 128_000, eos_token_id: 128_001, pad_token_id: 128_004 },
      unrotatedEvery: 4,
    },
  },
];

/** Prefix of the `model_type` of checkpoints that our own modelling file loads, so that no stock class takes them. */
export const REMOTE_CODE_PREFIX = "gprune_";

/** `model_type` of every family that can be read. */
export const FAMILY_NAMES: readonly string[] = FAMILIES.map((family) => family.modelType);

/** Every `model_type` that can be read. */
export const MODEL_TYPES: readonly string[] = FAMILIES.flatMap(({ modelType, alsoNamed }) => [
  modelType,
  ...alsoNamed,
]);

/** The family of a model type; undefined for one that is not in the table. */
export function findFamily(modelType: unknown): Family | undefined {
  return FAMILIES.find(({ modelType: own, alsoNamed }) =>
    [own, ...alsoNamed].some((name) => name === modelType),
  );
}

/**
 * The family of a model type.
 * @param hint - for a model type that is not in the table
 * @throws GpruneError UNSUPPORTED for a model type that is not in the table
 */
export function familyByName(modelType: string, where: string, hint?: () => string): Family {
  const family = findFamily(modelType);
  if (family !== undefined) return family;
  throw new GpruneError(
    "UNSUPPORTED",
    `${where}: expected one of the model types ${MODEL_TYPES.join(", ")}, got ${JSON.stringify(modelType)}`,
    { hint: hint?.() },
  );
}
