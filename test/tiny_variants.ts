/** Tiny models that together use every switch of a spec, with different widths in every layer. */

import { alibiSlopes } from "../src/model/alibi.ts";
import type { BlockMultipliers, MixerMultipliers } from "../src/model/multipliers_spec.ts";
import { PROJECTIONS } from "../src/model/projections.ts";
import { projectionsOf } from "../src/model/weights.ts";
import {
  type TinyModelOptions,
  tinyBlocks,
  tinyConvolution,
  tinyDelta,
  tinyMamba,
  tinyMamba2,
} from "./tiny_model.ts";

/** Switches of the first Gemma, for a hidden size of 8. */
export const GEMMA1_SWITCHES: Pick<TinyModelOptions, "activation" | "normOffset" | "embeddingScale"> = {
  activation: "gelu_tanh",
  normOffset: 1,
  embeddingScale: Math.sqrt(8),
};

/** Switches of Gemma 2, for a hidden size of 8. */
export const GEMMA2_SWITCHES: typeof GEMMA1_SWITCHES &
  Pick<TinyModelOptions, "norms" | "scoreSoftcap" | "logitSoftcap"> = {
  ...GEMMA1_SWITCHES,
  norms: "around",
  scoreSoftcap: 1.5,
  logitSoftcap: 3,
};

/** Switches of Gemma 3, for a hidden size of 8. */
export const GEMMA_SWITCHES: typeof GEMMA1_SWITCHES & Pick<TinyModelOptions, "qkNorm" | "norms"> = {
  ...GEMMA1_SWITCHES,
  qkNorm: "head",
  norms: "around",
};

/** Factors of muP, all different. */
export const MULTIPLIERS: BlockMultipliers = {
  ...{ attentionInput: 1.25, keys: 0.75, attentionOutput: 0.625, gates: 0.875, ffnOutput: 0.5 },
};
export const MIXER_MULTIPLIERS: MixerMultipliers = {
  ...{ input: 1.5, parts: [0.75, 1.25, 0.875, 1.125, 0.5], output: 0.375 },
};

const LAYER_NORMS = { normType: "layer", normParameters: "weight_and_bias" } as const;
const PLAIN_PROJECTIONS = projectionsOf({ gated: false });

const LATENT_ROPE = { theta: 100, rotaryDim: 4, scaling: null } as const;

const WIDTHS = [
  { neurons: 6, kvGroups: 2, groupSize: 2 },
  { neurons: 3, kvGroups: 1, groupSize: 2 },
  { neurons: 9, kvGroups: 3, groupSize: 1 },
] as const;

export const TINY_VARIANTS: Readonly<Record<string, TinyModelOptions>> = {
  "per-layer widths": { layers: WIDTHS },
  "all biases, untied head": {
    layers: WIDTHS.map((widths) => ({ ...widths, biases: PROJECTIONS })),
    tiedEmbeddings: false,
  },
  "clipped queries, keys and values": { layers: WIDTHS, projectionClip: 0.25 },
  "query and key norms, wide heads": { layers: WIDTHS, qkNorm: "head", headDim: 6 },
  "windows, linear scaling and partial rotation": {
    layers: WIDTHS.map((widths, index) => ({
      ...widths,
      window: index === 1 ? null : 3,
      rope: { theta: 100, rotaryDim: 2, scaling: { type: "linear", factor: 2 } },
    })),
  },
  "as Granite": {
    layers: WIDTHS,
    family: "granite",
    embeddingScale: 3,
    attentionScale: 0.2,
    residualScale: 0.4,
    logitDivisor: 1.5,
  },
  "layers that are not rotated, some with windows": {
    family: "smollm3",
    layers: [...WIDTHS, WIDTHS[0]].map((widths, index) => ({
      ...widths,
      ...(index % 2 === 1 ? { rope: null } : {}),
      window: index === 0 ? null : 3,
    })),
  },
  "as OLMo 1": { layers: WIDTHS, normType: "layer", normParameters: "none" },
  "as OLMo 2": { layers: WIDTHS, family: "olmo2", norms: "after", qkNorm: "projection" },
  "as EXAONE 4": { layers: WIDTHS, norms: "after", qkNorm: "head" },
  "as HunYuan": { layers: WIDTHS, qkNorm: "rotated_head", headDim: 6 },
  "as Llama 4": { layers: [WIDTHS[0]!, { ...WIDTHS[1]!, rope: null }], qkNorm: "unweighted" },
  "as Nemotron-H": {
    layers: tinyBlocks(),
    family: "nemotron_h",
    gated: false,
    activation: "relu2",
    norms: "shared",
  },
  "as LFM2": {
    layers: [
      tinyConvolution({ length: 3, biases: false }),
      WIDTHS[1]!,
      tinyConvolution({ length: 4, biases: true }, 3),
      WIDTHS[2]!,
    ],
    qkNorm: "head",
  },
  "as LFM3": {
    layers: [tinyConvolution({ length: 4, biases: false }), { ...WIDTHS[1]!, window: 3 }, WIDTHS[2]!],
    norms: "around",
    qkNorm: "head",
    gatedAttention: "head_gates",
    // With other seeds, convolutions give numbers so small that the norm after them shows how weights are rounded.
    seed: 5,
  },
  "as AFMoE": {
    layers: [WIDTHS[0]!, { ...WIDTHS[1]!, rope: null }],
    norms: "around",
    qkNorm: "head",
    gatedAttention: "gate_proj",
  },
  "as Laguna": {
    layers: [WIDTHS[0]!, { ...WIDTHS[1]!, window: 3 }, WIDTHS[2]!],
    qkNorm: "head",
    gatedAttention: "head_gates",
    softplusGates: true,
  },
  "as Qwen 3.5": {
    layers: [tinyDelta(), WIDTHS[1]!, tinyDelta({ keyHeads: 1, valueHeads: 3, length: 2 }, 3), WIDTHS[2]!],
    normOffset: 1,
    qkNorm: "head",
    gatedAttention: "q_proj",
  },
  "as OLMo Hybrid": {
    layers: [
      { ...tinyDelta({ overcorrects: true, normEps: 0.5 }), norms: "before" },
      { ...WIDTHS[1]!, rope: null },
      { ...tinyDelta({ keyHeads: 1, valueHeads: 3 }, 3), norms: "before" },
      { ...WIDTHS[2]!, norms: "around" },
    ],
    norms: "after",
    qkNorm: "projection",
  },
  "as Granite 4": {
    layers: [
      tinyMamba(),
      { ...WIDTHS[1]!, rope: null },
      tinyMamba({ keyHeads: 2, valueHeads: 6, length: 4, biases: true, filterBiases: false }, 3),
      WIDTHS[2]!,
    ],
    embeddingScale: 3,
    residualScale: 0.5,
    logitDivisor: 1.5,
  },
  "as Falcon-H1": {
    layers: [
      { ...WIDTHS[0]!, beside: tinyMamba2({ norm: "none" }) },
      { ...WIDTHS[1]!, beside: tinyMamba2({ norm: "before_gates", keyHeads: 2, outputBias: true }) },
      {
        ...WIDTHS[2]!,
        beside: tinyMamba2({ keyHeads: 4, multipliers: MIXER_MULTIPLIERS }),
        biases: PROJECTIONS,
      },
    ],
    embeddingScale: 3,
    logitDivisor: 1.5,
    multipliers: MULTIPLIERS,
  },
  "as Gemma 4": {
    layers: [
      { neurons: 6, kvGroups: 2, groupSize: 2, window: 3 },
      { neurons: 5, kvGroups: 1, groupSize: 2, window: 3, kvSharing: { role: "source" } },
      {
        ...{ neurons: 4, kvGroups: 2, groupSize: 1, headDim: 6, kvSharing: { role: "source" } },
        valuesAreKeys: true,
        rope: { theta: 100, rotaryDim: 6, scaling: { type: "proportional", pairs: 2, factor: 1 } },
      },
      { neurons: 7, kvGroups: 1, groupSize: 3, window: 3, kvSharing: { role: "reader", source: 1 } },
      {
        ...{ neurons: 3, kvGroups: 2, groupSize: 2, headDim: 6, kvSharing: { role: "reader", source: 2 } },
        rope: { theta: 100, rotaryDim: 6, scaling: { type: "proportional", pairs: 2, factor: 1 } },
      },
    ],
    ...GEMMA_SWITCHES,
    normOffset: 0,
    attentionScale: 0.5,
    logitSoftcap: 3,
    valueNorm: true,
    layerScalars: true,
    perLayerInputs: { size: 4, vocabSize: 16 },
    // Of the order of what is normed, which may be small: norms on outputs would give its rounding the weight of all.
    normEps: 0.1,
  },
  "as Gemma 3n": {
    layers: [
      { neurons: 9, kvGroups: 1, groupSize: 3, window: 3, gateCut: 0.6 },
      { ...WIDTHS[0], kvSharing: { role: "source" }, gateCut: 0.3 },
      { ...WIDTHS[2], window: 3, kvSharing: { role: "source" } },
      { neurons: 7, kvGroups: WIDTHS[0].kvGroups, groupSize: 1, kvSharing: { role: "reader", source: 1 } },
    ],
    ...GEMMA_SWITCHES,
    normOffset: 0,
    attentionScale: 0.5,
    logitSoftcap: 3,
    valueNorm: true,
    perLayerInputs: { size: 4, vocabSize: 11 },
    updates: { streams: 3, residualRank: 2 },
    // Of the order of what is normed, as for Gemma 4.
    normEps: 0.1,
  },
  "as Gemma 4 with experts": {
    // With the usual one, a token is where small changes give it another expert.
    seed: 1,
    layers: [
      {
        ...{ ...WIDTHS[0], window: 3 },
        experts: {
          ...{ count: 2, active: 1, normalised: true, shared: 5 },
          ...{ sharedUngated: true, ownNorms: true, ownScales: true },
        },
      },
      {
        ...{ ...WIDTHS[2], valuesAreKeys: true },
        experts: { count: 3, active: 2, normalised: false, shared: 3, ownNorms: true },
      },
      { ...WIDTHS[0], experts: { count: 2, active: 1, normalised: true, ownScales: true } },
    ],
    ...GEMMA_SWITCHES,
    normOffset: 0,
    valueNorm: true,
    // Of the order of what is normed, as for Gemma 4.
    normEps: 0.1,
  },
  "as Mixtral and Qwen3 MoE": {
    layers: [
      { ...WIDTHS[0], experts: { count: 2, active: 1, normalised: false } },
      { ...WIDTHS[1], experts: { count: 3, active: 2, normalised: true } },
      WIDTHS[2],
    ],
  },
  "as Qwen2 MoE": {
    layers: [
      { ...WIDTHS[0], experts: { count: 2, active: 1, normalised: false, shared: 5 } },
      { ...WIDTHS[1], experts: { count: 3, active: 2, normalised: true, shared: 3 } },
      WIDTHS[2],
    ],
  },
  "as Qwen 3.5 MoE": {
    layers: [
      { ...tinyDelta({}, 8), experts: { count: 4, active: 2, normalised: true, shared: 5 } },
      { ...WIDTHS[1], experts: { count: 3, active: 1, normalised: true, shared: 5 } },
    ],
    normOffset: 1,
    qkNorm: "head",
    gatedAttention: "q_proj",
  },
  "as GLM-4.5": {
    layers: [
      WIDTHS[0],
      {
        ...{ ...WIDTHS[1], neurons: 8 },
        experts: {
          ...{ count: 4, active: 2, normalised: true, sigmoid: true, corrected: true },
          ...{ divisor: { plus: 0.1 }, scale: 2.5, shared: 5, sharedUngated: true },
        },
      },
      {
        ...{ ...WIDTHS[2], neurons: 8 },
        experts: { count: 4, active: 2, normalised: false, sigmoid: true, scale: 0.5 },
      },
    ],
    qkNorm: "head",
  },
  "as Cohere 2 MoE": {
    layers: [
      { ...WIDTHS[0], window: null },
      {
        ...{ ...WIDTHS[1], window: 3 },
        experts: {
          ...{ count: 3, active: 2, normalised: false, sigmoid: true },
          ...{ shared: 4, sharedUngated: true, averaged: true },
        },
      },
      { ...WIDTHS[0], rope: null, experts: { count: 2, active: 1, normalised: true, sigmoid: true } },
    ],
    norms: "shared",
    parallel: true,
    logitDivisor: 4,
  },
  "as gpt-oss": {
    layers: [
      {
        ...{ ...WIDTHS[0], window: 3, biases: PROJECTIONS },
        experts: { count: 2, active: 1, normalised: true, biased: true },
      },
      {
        ...{ ...WIDTHS[1], biases: ["gate_proj", "down_proj"] },
        experts: { count: 3, active: 2, normalised: true, biased: true },
      },
      { ...WIDTHS[2], biases: PROJECTIONS },
    ],
    attentionSinks: true,
    activation: "clamped_swiglu",
  },
  "as ERNIE 4.5, LFM2 and Granite 4 with experts": {
    layers: [
      {
        ...tinyConvolution({ length: 3, biases: false }),
        // Some scores of the experts that are picked are below 0.5.
        experts: {
          ...{ count: 2, active: 1, normalised: true, corrected: true, divisor: { least: 0.5 } },
          ...{ shared: 3, sharedUngated: true },
        },
      },
      { ...WIDTHS[1], experts: { count: 3, active: 2, normalised: true, shared: 4, sharedUngated: true } },
      { ...tinyMamba({}, 6), experts: { count: 2, active: 1, normalised: false, corrected: true } },
    ],
    residualScale: 0.5,
  },
  "as Phi-3.5-MoE": {
    layers: [
      { ...WIDTHS[0], experts: { count: 2, active: 2, normalised: false, sparseMixer: 0.5 } },
      { ...WIDTHS[1], experts: { count: 3, active: 2, normalised: false, sparseMixer: 0.02 } },
    ],
    normType: "layer",
    normParameters: "weight_and_bias",
    headBias: true,
  },
  "as Llama 4 with experts": {
    layers: [
      WIDTHS[0],
      {
        ...WIDTHS[1],
        experts: {
          ...{ count: 3, active: 2, normalised: false, sigmoid: true, weighsInput: true },
          ...{ shared: 4, sharedUngated: true },
        },
      },
      {
        ...WIDTHS[0],
        experts: { count: 2, active: 1, normalised: false, sigmoid: true, weighsInput: true },
      },
    ],
    qkNorm: "unweighted",
  },
  "as DeepSeek V3": {
    layers: WIDTHS.map(({ neurons, kvGroups }, index) => ({
      ...{ neurons, kvGroups, groupSize: 1, rope: LATENT_ROPE },
      ...(index === 1 && {
        neurons: 12,
        experts: {
          ...{ count: 6, active: 2, normalised: true, sigmoid: true, corrected: true },
          ...{ divisor: { plus: 0.1 }, scale: 2.5, shared: 5, sharedUngated: true },
          groups: { count: 3, active: 2, best: 2 },
        },
      }),
    })),
    headDim: 7,
    attentionScale: 0.5,
    latent: { queryRank: 5, rank: 3, rotated: 4, valueDim: 2, biases: true },
  },
  "as DeepSeek V2": {
    layers: WIDTHS.map(({ neurons, kvGroups }, index) => ({
      ...{ neurons, kvGroups, groupSize: 1, rope: LATENT_ROPE },
      ...(index === 2 && {
        neurons: 8,
        experts: {
          ...{ count: 8, active: 3, normalised: false, groups: { count: 4, active: 2, best: 1 } },
          ...{ shared: 3, sharedUngated: true },
        },
      }),
    })),
    headDim: 6,
    latent: { queryRank: null, rank: 3, rotated: 4, valueDim: 5, biases: false },
  },
  "as Arcee": { layers: WIDTHS, gated: false, activation: "relu2" },
  "as Command R+": {
    layers: WIDTHS,
    normType: "layer",
    parallel: true,
    norms: "shared",
    qkNorm: "each_head",
    headDim: 6,
  },
  "as Apertus": { layers: WIDTHS, gated: false, activation: "xielu", qkNorm: "head", headDim: 6 },
  "as StarCoder 2": {
    layers: WIDTHS.map((widths) => ({ ...widths, biases: PLAIN_PROJECTIONS })),
    ...LAYER_NORMS,
    gated: false,
    activation: "gelu_tanh",
  },
  "as nanochat": {
    layers: WIDTHS,
    normParameters: "none",
    qkNorm: "unweighted",
    embeddingNorm: true,
    gated: false,
    activation: "relu2",
    logitSoftcap: 3,
    tiedEmbeddings: false,
  },
  "as Nemotron": { layers: WIDTHS, ...LAYER_NORMS, normOffset: 1, gated: false, activation: "relu2" },
  "as GPT-NeoX": {
    layers: WIDTHS,
    ...LAYER_NORMS,
    gated: false,
    activation: "gelu",
    parallel: true,
    tiedEmbeddings: false,
  },
  "as Phi": {
    layers: WIDTHS,
    ...LAYER_NORMS,
    gated: false,
    activation: "relu",
    parallel: true,
    norms: "shared",
    headBias: true,
  },
  "as OPT": {
    layers: WIDTHS.map((widths) => ({ ...widths, rope: null, biases: PLAIN_PROJECTIONS })),
    ...LAYER_NORMS,
    gated: false,
    activation: "relu",
    learnedPositions: { offset: 2 },
    maxPositions: 512,
  },
  "as BLOOM": {
    layers: WIDTHS.map((widths) => ({
      ...widths,
      rope: null,
      biases: PLAIN_PROJECTIONS,
      slopes: alibiSlopes(widths.kvGroups * widths.groupSize),
    })),
    ...LAYER_NORMS,
    embeddingNorm: true,
    gated: false,
    activation: "gelu_tanh",
  },
  "as Cohere": { layers: WIDTHS, normType: "layer", parallel: true, norms: "shared", logitDivisor: 4 },
  "as Gemma": {
    layers: WIDTHS.map((widths, index) => ({ ...widths, window: index === 0 ? 4 : null })),
    ...GEMMA_SWITCHES,
    attentionScale: 0.3,
    scoreSoftcap: 3,
    logitSoftcap: 2,
  },
};
