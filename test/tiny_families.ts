/** Tiny models of families that differ from Llama in more than sizes and switches of Gemma, by what GGUF stores. */

import { alibiSlopes } from "../src/model/alibi.ts";
import type { ExpertsSpec } from "../src/model/experts_spec.ts";
import { PROJECTIONS } from "../src/model/projections.ts";
import {
  type RopeSpec,
  YARN_DEFAULTS,
  type YarnScaling,
  yarnAttentionFactor,
} from "../src/model/rope_spec.ts";
import type { LayerSpec } from "../src/model/spec.ts";
import { projectionsOf } from "../src/model/weights.ts";
import { YARN } from "./scaled_ropes.ts";
import {
  type TinyModelOptions,
  tinyBlocks,
  tinyConvolution,
  tinyDelta,
  tinyMamba,
  tinyMamba2,
} from "./tiny_model.ts";
import { GEMMA_SWITCHES, MIXER_MULTIPLIERS, MULTIPLIERS } from "./tiny_variants.ts";

const ROPE: RopeSpec = { theta: 10_000, rotaryDim: 4, scaling: null };
const QKV = ["q_proj", "k_proj", "v_proj"] as const;
/** With C = 8, as some architectures want it: N * H = C. */
const NARROW = { groupSize: 1 } as const;
const CONVOLUTION = tinyConvolution({ length: 3, biases: false });
const DELTA = tinyDelta({ valueHeads: 6, valueDim: 8 });
const MAMBA = tinyMamba({ keyHeads: 2 });
const GRANITE_FACTORS = {
  embeddingScale: 12,
  attentionScale: 0.125,
  residualScale: 0.4,
  logitDivisor: 3,
} as const;
const HALF = { ...NARROW, rope: { ...ROPE, rotaryDim: 2 }, biases: QKV } as const;
const OLMO = { norms: "after", qkNorm: "projection", tiedEmbeddings: false } as const;
const LAYER_NORM = { normType: "layer", normParameters: "weight_and_bias", tiedEmbeddings: false } as const;
const ALL_BIASED = { ...HALF, biases: projectionsOf({ gated: false }) } as const;
const STABLELM = { ...LAYER_NORM, family: "stablelm", layers: [HALF, { ...HALF, biases: [] }] } as const;
const GPT_NEOX: TinyModelOptions = {
  ...LAYER_NORM,
  family: "gpt_neox",
  gated: false,
  activation: "gelu",
  layers: [ALL_BIASED, ALL_BIASED],
};
const UNROTATED = { ...ALL_BIASED, rope: null } as const;
const SLOPED = { ...UNROTATED, slopes: alibiSlopes(2) } as const;
const GPT2: TinyModelOptions = {
  ...LAYER_NORM,
  family: "gpt2",
  gated: false,
  activation: "gelu_tanh",
  learnedPositions: { offset: 0 },
};
const SHARED = { norms: "shared", parallel: true } as const;
const COHERE = { ...SHARED, normType: "layer", logitDivisor: 4 } as const;
const EXAONE4 = { family: "exaone4", norms: "after", qkNorm: "head" } as const;

const EXPERTS = { count: 3, active: 2, normalised: true } as const;
/** An FFN of experts. */
const SPARSE = { neurons: 12, experts: EXPERTS } as const;
/** One of experts beside a shared one. */
const WITH_SHARED = { neurons: 12, experts: { ...EXPERTS, shared: 5 } } as const;

/** One of experts picked by corrected scores. */
const CORRECTED = { ...EXPERTS, corrected: true } as const;
/** Experts beside a shared one that has no gate. */
const OPEN_SHARED = { shared: 5, sharedUngated: true } as const;
const WITH_OPEN_SHARED = { neurons: 12, experts: { ...EXPERTS, ...OPEN_SHARED } } as const;

/** Numbers by sigmoids. */
const SIGMOIDS = { sigmoid: true, divisor: { plus: 1e-20 }, scale: 2.5 } as const;
/** Keys of 3 channels and 4 that turn. */
const LATENT = {
  headDim: 7,
  attentionScale: 7 ** -0.5,
  tiedEmbeddings: false,
  latent: { queryRank: 5, rank: 6, rotated: 4, valueDim: 3, biases: false },
} as const;

/** A layer with latent attention, and experts unless it is the first. */
function latentLayer(index: number, experts: ExpertsSpec): Partial<LayerSpec> {
  const layer = { ...NARROW, rope: ROPE };
  return index === 0 ? layer : { ...layer, neurons: 12, experts };
}

/** One of experts picked by corrected sigmoids, beside one as wide. */
const OF_SIGMOIDS = {
  neurons: 12,
  experts: { ...CORRECTED, ...OPEN_SHARED, sigmoid: true, divisor: { plus: 1e-20 }, scale: 2.5, shared: 4 },
} as const;

/** One of experts picked by sigmoids, averaged with one of another width. */
const OF_COHERE = {
  neurons: 12,
  experts: { ...EXPERTS, ...OPEN_SHARED, normalised: false, sigmoid: true, averaged: true },
} as const;

const OF_LAGUNA = {
  neurons: 12,
  experts: { ...CORRECTED, ...OPEN_SHARED, sigmoid: true, scale: 2.5, shared: 5 },
} as const;
const TURNING: YarnScaling = {
  ...{ type: "yarn", factor: 4, originalMaxPositions: 16, attentionFactor: 1.25 },
  ...YARN_DEFAULTS,
};

const GEMMA4: TinyModelOptions = {
  ...{ ...GEMMA_SWITCHES, family: "gemma4_text", normOffset: 0, attentionScale: 1, logitSoftcap: 3 },
  ...{ valueNorm: true, layerScalars: true },
};
const WINDOWED = { window: 16 } as const;
/** Of Gemma 4: wider heads, one of whose three pairs of channels turns. */
const WIDE_HEADS = {
  headDim: 6,
  kvGroups: 1,
  rope: { theta: 1_000_000, rotaryDim: 6, scaling: { type: "proportional", pairs: 1, factor: 1 } },
} as const;

/** With the numbers that llama.cpp takes for granted: of streams, ranks, inputs, layers with keys, and of cut ones. */
const GEMMA3N: TinyModelOptions = {
  ...{ ...GEMMA_SWITCHES, family: "gemma3n_text", normOffset: 0, attentionScale: 1, logitSoftcap: 30 },
  ...{ valueNorm: true, perLayerInputs: { size: 256, vocabSize: 16 } },
  updates: { streams: 4, residualRank: 64 },
  layers: Array.from({ length: 25 }, (_, index): Partial<LayerSpec> => {
    const isFull = index % 5 === 4;
    const kvSharing = gemma3nSharing(index, isFull);
    return {
      ...(isFull ? { rope: { ...ROPE, theta: 1_000_000 } } : { window: 16 }),
      ...(index < 10 && { gateCut: 0.95 }),
      ...(kvSharing && { kvSharing }),
    };
  }),
};
function gemma3nSharing(layer: number, isFull: boolean): LayerSpec["kvSharing"] {
  if (layer >= 20) return { role: "reader", source: isFull ? 19 : 18 };
  return layer >= 18 ? { role: "source" } : undefined;
}

const QWEN3_5: TinyModelOptions = {
  family: "qwen3_5_text",
  qkNorm: "head",
  normOffset: 1,
  gatedAttention: "q_proj",
  layers: [DELTA, DELTA, { rope: { ...ROPE, rotaryDim: 2 } }, DELTA, DELTA],
};

/** Mamba 2 as wide as llama.cpp does not want it elsewhere. */
const NEMOTRON_H: TinyModelOptions = {
  ...{ family: "nemotron_h", gated: false, activation: "relu2", norms: "shared", tiedEmbeddings: false },
  layers: tinyBlocks({ mamba: { keyHeads: 2, valueDim: 8 } }),
};

/** Mamba 2 of another width than twice the hidden state, whose outputs are not normed. */
const UNNORMED = { keyHeads: 2, valueDim: 6, norm: "none" } as const;

type TinyFamily =
  | "gemma3n"
  | "gemma4"
  | "gemma4 with keys as values"
  | "gemma4 with experts"
  | "mixtral"
  | "minimax_m2"
  | "qwen2_moe"
  | "qwen3_moe"
  | "granitemoe"
  | "granitemoeshared"
  | "olmoe"
  | "smollm3"
  | "lfm2"
  | "lfm2_moe"
  | "qwen3_5"
  | "qwen3_5_moe"
  | "qwen3_next"
  | "granitemoehybrid"
  | "granitemoehybrid with rotation"
  | "granitemoehybrid with experts"
  | "granitemoehybrid of attention with experts"
  | "nemotron_h"
  | "nemotron_h with experts"
  | "falcon_h1"
  | "falcon_h1 with norms"
  | "olmo"
  | "olmo2"
  | "olmo3"
  | "exaone4"
  | "exaone4 of 64 layers"
  | "seed_oss"
  | "ernie4_5"
  | "ernie4_5_moe"
  | "hunyuan"
  | "hunyuan_v1_moe"
  | "glm"
  | "glm4"
  | "glm4_moe"
  | "glm4_moe_lite"
  | "mistral4"
  | "deepseek_v2"
  | "deepseek_v3"
  | "gpt_oss"
  | "dots1"
  | "exaone_moe"
  | "solar_open"
  | "afmoe"
  | "laguna"
  | "apertus"
  | "arcee"
  | "nemotron"
  | "starcoder2"
  | "stablelm"
  | "stablelm in parallel"
  | "stablelm 2 12B"
  | "phi"
  | "gpt_neox"
  | "gpt_neox in sequence"
  | "gpt2"
  | "gpt_bigcode"
  | "bloom"
  | "mpt"
  | "falcon"
  | "jais2"
  | "cohere"
  | "cohere of 64 layers"
  | "cohere2"
  | "cohere2_moe";

export const TINY_FAMILIES: Readonly<Record<TinyFamily, TinyModelOptions>> = {
  gemma3n: GEMMA3N,
  gemma4: {
    ...GEMMA4,
    perLayerInputs: { size: 3, vocabSize: 16 },
    layers: [
      { ...WINDOWED, neurons: 5, kvGroups: 1 },
      { ...WINDOWED, kvSharing: { role: "source" } },
      { ...WIDE_HEADS, kvSharing: { role: "source" } },
      { ...WINDOWED, neurons: 12, kvSharing: { role: "reader", source: 1 } },
      { ...WIDE_HEADS, neurons: 12, kvSharing: { role: "reader", source: 2 } },
    ],
  },
  "gemma4 with keys as values": {
    ...GEMMA4,
    tiedEmbeddings: false,
    layers: [WINDOWED, WINDOWED, { ...WIDE_HEADS, valuesAreKeys: true }],
  },
  "gemma4 with experts": {
    ...GEMMA4,
    layers: [WINDOWED, WINDOWED, { ...WIDE_HEADS, valuesAreKeys: true as const }].map((layer) => {
      const rules = { shared: 5, sharedUngated: true, ownNorms: true, ownScales: true } as const;
      return { ...layer, neurons: 12, experts: { ...EXPERTS, ...rules } };
    }),
  },
  mixtral: {
    family: "mixtral",
    tiedEmbeddings: false,
    layers: [SPARSE, { ...SPARSE, biases: [...QKV, "o_proj"] }],
  },
  minimax_m2: {
    ...{ family: "minimax_m2", qkNorm: "projection", tiedEmbeddings: false },
    layers: [SPARSE, SPARSE].map((layer) => {
      const experts = { ...CORRECTED, sigmoid: true } as const;
      return { ...layer, rope: { ...ROPE, rotaryDim: 2 }, experts };
    }),
  },
  qwen2_moe: {
    ...{ family: "qwen2_moe", tiedEmbeddings: false },
    layers: [WITH_SHARED, WITH_SHARED].map((layer) => {
      return { ...layer, ...NARROW, biases: QKV, experts: { ...layer.experts, normalised: false } };
    }),
  },
  qwen3_moe: {
    family: "qwen3_moe",
    qkNorm: "head",
    headDim: 6,
    layers: [SPARSE, SPARSE].map((layer) => ({ ...layer, rope: { ...ROPE, rotaryDim: 6 } })),
  },
  granitemoeshared: {
    ...{ family: "granitemoeshared", ...GRANITE_FACTORS },
    layers: [NARROW, NARROW].map((layer) => ({ ...layer, ...WITH_OPEN_SHARED })),
  },
  granitemoe: { family: "granitemoe", ...GRANITE_FACTORS, layers: [SPARSE, SPARSE] },
  olmoe: {
    ...{ family: "olmoe", qkNorm: "projection", tiedEmbeddings: false },
    layers: [SPARSE, SPARSE].map((layer) => {
      return { ...layer, ...NARROW, experts: { ...EXPERTS, normalised: false } };
    }),
  },
  smollm3: {
    family: "smollm3",
    layers: Array.from({ length: 5 }, (_, layer) => (layer === 3 ? { rope: null } : {})),
  },
  lfm2: { family: "lfm2", qkNorm: "head", layers: [CONVOLUTION, NARROW, CONVOLUTION] },
  lfm2_moe: {
    ...{ family: "lfm2_moe", qkNorm: "head" },
    layers: [CONVOLUTION, NARROW, CONVOLUTION].map((layer, index) => {
      const experts = { ...CORRECTED, sigmoid: true, divisor: { plus: 1e-6 } } as const;
      return index === 0 ? layer : { ...layer, neurons: 12, experts };
    }),
  },
  qwen3_5: QWEN3_5,
  qwen3_5_moe: {
    ...{ ...QWEN3_5, family: "qwen3_5_moe_text" },
    layers: [DELTA, { rope: { ...ROPE, rotaryDim: 2 } }, DELTA].map((layer) => {
      return { ...layer, ...WITH_SHARED };
    }),
  },
  qwen3_next: {
    ...{ ...QWEN3_5, family: "qwen3_next" },
    layers: [DELTA, { rope: { ...ROPE, rotaryDim: 2 } }, DELTA].map((layer) => {
      return { ...layer, ...WITH_SHARED };
    }),
  },
  granitemoehybrid: {
    family: "granitemoehybrid",
    ...GRANITE_FACTORS,
    layers: [MAMBA, { rope: null }, MAMBA, { rope: null }, MAMBA],
  },
  "granitemoehybrid with rotation": {
    family: "granitemoehybrid",
    tiedEmbeddings: false,
    layers: [{ biases: [...QKV, "o_proj"] }, tinyMamba()],
  },
  "granitemoehybrid with experts": {
    ...{ family: "granitemoehybrid", ...GRANITE_FACTORS },
    layers: [MAMBA, { ...NARROW, rope: null }, MAMBA].map((layer) => ({ ...layer, ...WITH_OPEN_SHARED })),
  },
  "granitemoehybrid of attention with experts": {
    ...{ family: "granitemoehybrid", tiedEmbeddings: false },
    layers: [NARROW, NARROW].map((layer) => ({ ...layer, ...WITH_OPEN_SHARED })),
  },
  nemotron_h: NEMOTRON_H,
  "nemotron_h with experts": {
    ...NEMOTRON_H,
    layers: NEMOTRON_H.layers!.map((layer) => ({
      ...layer,
      ...(layer.neurons !== 0 && { ...OF_SIGMOIDS, experts: { ...OF_SIGMOIDS.experts, shared: 5 } }),
    })),
  },
  falcon_h1: {
    ...{ family: "falcon_h1", tiedEmbeddings: false, multipliers: MULTIPLIERS },
    ...{ embeddingScale: 5.5, logitDivisor: 4 },
    layers: [0, 1].map(() => ({ beside: tinyMamba2({ ...UNNORMED, multipliers: MIXER_MULTIPLIERS }) })),
  },
  "falcon_h1 with norms": {
    family: "falcon_h1",
    layers: [0, 1].map(() => ({ biases: QKV, beside: tinyMamba2({ keyHeads: 2 }) })),
  },
  olmo: {
    family: "olmo",
    normType: "layer",
    normParameters: "none",
    projectionClip: 0.5,
    layers: [NARROW, NARROW],
  },
  olmo2: { ...OLMO, family: "olmo2", layers: [NARROW, NARROW] },
  olmo3: {
    ...OLMO,
    family: "olmo3",
    layers: Array.from({ length: 5 }, (_, layer) =>
      layer === 3 ? { ...NARROW, rope: { ...ROPE, scaling: YARN } } : { ...NARROW, window: 16 },
    ),
  },
  exaone4: { ...EXAONE4, layers: [NARROW, NARROW] },
  "exaone4 of 64 layers": {
    ...EXAONE4,
    layers: Array.from({ length: 64 }, (_, layer) =>
      layer % 4 === 3 ? { ...NARROW, rope: null } : { ...NARROW, window: 16 },
    ),
  },
  seed_oss: { family: "seed_oss", headDim: 6, layers: [{ rope: { ...ROPE, rotaryDim: 6 }, biases: QKV }] },
  ernie4_5: { family: "ernie4_5" },
  ernie4_5_moe: {
    family: "ernie4_5_moe",
    layers: [{}, {}, {}].map((layer, index) => {
      // As wide as two of the others.
      const experts = { ...CORRECTED, ...OPEN_SHARED, shared: 8, divisor: { least: 1e-12 } } as const;
      return index === 0 ? layer : { ...layer, neurons: 12, experts };
    }),
  },
  hunyuan: { family: "hunyuan_v1_dense", qkNorm: "rotated_head" },
  hunyuan_v1_moe: {
    ...{ family: "hunyuan_v1_moe", qkNorm: "rotated_head" },
    layers: [WITH_OPEN_SHARED, WITH_OPEN_SHARED],
  },
  glm: { family: "glm", tiedEmbeddings: false, layers: [HALF, HALF] },
  glm4: { family: "glm4", norms: "around", tiedEmbeddings: false, layers: [HALF, HALF] },
  glm4_moe: {
    ...{ family: "glm4_moe", qkNorm: "head", tiedEmbeddings: false },
    layers: [{}, {}].map((_, index) => {
      const layer = { rope: { ...ROPE, rotaryDim: 2 }, biases: QKV };
      return index === 0 ? layer : { ...layer, ...OF_SIGMOIDS };
    }),
  },
  glm4_moe_lite: {
    ...{ family: "glm4_moe_lite", ...LATENT, latent: { ...LATENT.latent, valueDim: 6 } },
    layers: [0, 1].map((index) =>
      latentLayer(index, { ...CORRECTED, ...SIGMOIDS, ...OPEN_SHARED, shared: 4 }),
    ),
  },
  // As many layers as DeepSeek V2 Lite has.
  deepseek_v2: {
    ...{ family: "deepseek_v2", ...LATENT, latent: { ...LATENT.latent, queryRank: null } },
    layers: Array.from({ length: 27 }, (_, index) =>
      latentLayer(index, { ...EXPERTS, normalised: false, ...OPEN_SHARED, shared: 4 }),
    ),
  },
  deepseek_v3: {
    ...{
      family: "deepseek_v3",
      ...LATENT,
      attentionScale: 7 ** -0.5 * yarnAttentionFactor(YARN.factor, 2) ** 2,
    },
    layers: [0, 1].map((index) => ({
      ...latentLayer(index, {
        ...{ ...CORRECTED, count: 6, ...SIGMOIDS, ...OPEN_SHARED, shared: 4 },
        groups: { count: 3, active: 2, best: 2 },
      }),
      ...(index === 1 && { neurons: 24 }),
      rope: { ...ROPE, scaling: { ...YARN, attentionFactor: 1, allDim: 2 } },
    })),
  },
  mistral4: {
    ...{ family: "mistral4", ...LATENT, attentionScale: 7 ** -0.5 * yarnAttentionFactor(YARN.factor) ** 2 },
    layers: [0, 1].map((index) => ({
      ...latentLayer(index, {
        ...{ ...EXPERTS, count: 6, scale: 1.5, divisor: { plus: 1e-20 }, ...OPEN_SHARED, shared: 4 },
        groups: { count: 3, active: 2, best: 2 },
      }),
      ...(index === 1 && { neurons: 24 }),
      rope: { ...ROPE, scaling: { ...YARN, attentionFactor: 1, allDim: 1, queryGrowth: 0.1 } },
    })),
  },
  gpt_oss: {
    ...{ family: "gpt_oss", tiedEmbeddings: false, attentionSinks: true, activation: "clamped_swiglu" },
    layers: [16, null, 16].map((window) => {
      const experts = { ...EXPERTS, biased: true } as const;
      // The base is so small that YaRN's bounds are the first and the last channel, which llama.cpp does not round.
      const rope: RopeSpec = { ...ROPE, theta: 1.5, scaling: { ...YARN, truncate: false } };
      return { neurons: 12, window, rope, experts, biases: PROJECTIONS };
    }),
  },
  dots1: {
    family: "dots1",
    qkNorm: "head",
    tiedEmbeddings: false,
    layers: [NARROW, { ...NARROW, ...OF_SIGMOIDS }],
  },
  exaone_moe: {
    ...{ family: "exaone_moe", qkNorm: "head", tiedEmbeddings: false },
    layers: Array.from({ length: 5 }, (_, layer) => ({
      ...(layer === 0 ? {} : OF_SIGMOIDS),
      ...(layer === 3 ? { rope: null } : { window: 16 }),
    })),
  },
  afmoe: {
    ...{ family: "afmoe", qkNorm: "head", norms: "around", gatedAttention: "gate_proj" },
    ...{ embeddingScale: Math.sqrt(8), tiedEmbeddings: false },
    layers: Array.from({ length: 5 }, (_, layer) => ({
      ...(layer === 0 ? {} : OF_SIGMOIDS),
      ...(layer === 3 ? { rope: null } : { window: 16 }),
    })),
  },
  laguna: {
    ...{ family: "laguna", qkNorm: "head", gatedAttention: "head_gates", softplusGates: true },
    ...{ tiedEmbeddings: false },
    layers: Array.from({ length: 5 }, (_, layer) => ({
      ...(layer === 0 ? {} : OF_LAGUNA),
      ...(layer % 4 === 0
        ? { rope: { ...ROPE, rotaryDim: 2, scaling: TURNING } }
        : { window: 16, groupSize: 3, rope: { ...ROPE, theta: 500 } }),
    })),
  },
  solar_open: { family: "solar_open", tiedEmbeddings: false, layers: [OF_SIGMOIDS, OF_SIGMOIDS] },
  apertus: {
    ...{ family: "apertus", gated: false, activation: "xielu", qkNorm: "head", headDim: 6 },
    ...{ tiedEmbeddings: false, layers: [{ rope: { ...ROPE, rotaryDim: 6 }, biases: QKV }] },
  },
  arcee: { family: "arcee", gated: false, activation: "relu2" },
  nemotron: {
    ...{ ...LAYER_NORM, family: "nemotron", normOffset: 1, gated: false, activation: "relu2" },
    layers: [ALL_BIASED, HALF],
  },
  starcoder2: {
    ...{ ...LAYER_NORM, family: "starcoder2", tiedEmbeddings: true, gated: false, activation: "gelu_tanh" },
    layers: [NARROW, NARROW].map((layer) => ({ ...layer, biases: ALL_BIASED.biases })),
  },
  stablelm: STABLELM,
  "stablelm in parallel": { ...STABLELM, ...SHARED },
  "stablelm 2 12B": { ...STABLELM, ...SHARED, qkNorm: "each_head" },
  phi: {
    ...{ ...LAYER_NORM, ...SHARED, family: "phi", headBias: true, gated: false, activation: "gelu_tanh" },
    layers: [ALL_BIASED, ALL_BIASED],
  },
  gpt_neox: { ...GPT_NEOX, parallel: true },
  "gpt_neox in sequence": GPT_NEOX,
  gpt2: { ...GPT2, layers: [UNROTATED, UNROTATED] },
  gpt_bigcode: {
    ...{ ...GPT2, family: "gpt_bigcode" },
    layers: [UNROTATED, UNROTATED].map((layer) => ({ ...layer, kvGroups: 1, groupSize: 2 })),
  },
  bloom: {
    ...{ ...GPT2, family: "bloom", learnedPositions: null, embeddingNorm: true },
    layers: [SLOPED, SLOPED],
  },
  mpt: {
    ...{ ...GPT2, family: "mpt", learnedPositions: null, normParameters: "weight", activation: "gelu" },
    projectionClip: 0.5,
    layers: [SLOPED, SLOPED].map((layer) => ({ ...layer, biases: [] })),
  },
  falcon: {
    ...{ ...GPT2, ...SHARED, family: "falcon", learnedPositions: null, activation: "gelu" },
    layers: [{}, {}].map(() => ({ kvGroups: 1, groupSize: 2 })),
  },
  jais2: {
    ...{ ...LAYER_NORM, family: "jais2", gated: false, activation: "relu2" },
    layers: [ALL_BIASED, ALL_BIASED].map(({ biases }) => ({ biases })),
  },
  cohere: { ...COHERE, family: "cohere", layers: [NARROW, NARROW] },
  "cohere of 64 layers": {
    ...{ ...COHERE, family: "cohere", qkNorm: "each_head" },
    layers: Array.from({ length: 64 }, () => NARROW),
  },
  cohere2: {
    ...{ ...COHERE, family: "cohere2" },
    layers: Array.from({ length: 5 }, (_, layer) =>
      layer === 3 ? { ...NARROW, rope: null } : { ...NARROW, window: 16 },
    ),
  },
  cohere2_moe: {
    ...{ ...COHERE, family: "cohere2_moe", normType: "rms" },
    layers: [{}, { ...OF_COHERE, window: 16 }, { ...OF_COHERE, rope: null }, { ...OF_COHERE, window: 16 }],
  },
};
