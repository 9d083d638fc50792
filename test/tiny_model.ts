/**
 * Random models of any shape: widths, GQA, biases and the switches of the families. Weights are drawn for each tensor
 * from the seed and its name, so that changing one layer leaves the others unchanged.
 */

import { mixerLayer } from "../src/model/mixer_layers.ts";
import type { ConvolutionSpec, DeltaSpec, Mamba2Spec } from "../src/model/mixer_spec.ts";
import type { Model } from "../src/model/model.ts";
import type { LayerSpec, ModelSpec } from "../src/model/spec.ts";
import { weightsOf } from "../src/model/weights.ts";
import { memorySource } from "../src/tensor/memory.ts";
import { randomStream } from "../src/tensor/random.ts";
import { elementCount, type Tensor } from "../src/tensor/tensor.ts";

/** Changes of the default tiny model: spec fields, partial layers, and the seed of the weights. */
export interface TinyModelOptions extends Partial<Omit<ModelSpec, "layers">> {
  /** One entry for each layer; defaults are 6 neurons, 2 KV groups of 2 query heads, no biases. */
  readonly layers?: readonly Partial<LayerSpec>[];
  readonly seed?: number;
}

/** The spec of a tiny Llama: C 8, H 4, V 16, two layers unless told otherwise. */
export function tinySpec(options: TinyModelOptions = {}): ModelSpec {
  const { layers = [{}, {}], seed: _, ...changes } = options;
  const headDim = changes.headDim ?? 4;
  return {
    family: "llama",
    vocabSize: 16,
    hiddenSize: 8,
    headDim,
    tiedEmbeddings: true,
    activation: "silu",
    gated: true,
    normType: "rms",
    normParameters: "weight",
    parallel: false,
    headBias: false,
    learnedPositions: null,
    normEps: 1e-5,
    normOffset: 0,
    qkNorm: null,
    norms: "before",
    embeddingScale: 1,
    embeddingNorm: false,
    gatedAttention: false,
    valueNorm: false,
    attentionSinks: false,
    layerScalars: false,
    perLayerInputs: null,
    residualScale: 1,
    logitDivisor: 1,
    attentionScale: headDim ** -0.5,
    projectionClip: null,
    scoreSoftcap: null,
    logitSoftcap: null,
    maxPositions: 64,
    extra: {},
    ...changes,
    layers: layers.map((layer) => tinyLayer(layer, headDim)),
  };
}

/** A layer with a convolution in place of attention. */
export function tinyConvolution(convolution: Omit<ConvolutionSpec, "type">, neurons = 6): LayerSpec {
  return mixerLayer({ type: "convolution", ...convolution }, { neurons, biases: [] });
}

/** A layer with linear attention. */
export function tinyDelta(changes: Partial<DeltaSpec> = {}, neurons = 6): LayerSpec {
  const delta = { type: "delta", length: 3, keyHeads: 2, valueHeads: 4, keyDim: 8, valueDim: 16 } as const;
  return mixerLayer({ ...delta, ...changes }, { neurons, biases: [] });
}

/** A layer with Mamba 2. */
export function tinyMamba(changes: Partial<Mamba2Spec> = {}, neurons = 6): LayerSpec {
  return mixerLayer(tinyMamba2(changes), { neurons, biases: [] });
}

/** Mamba 2. */
export function tinyMamba2(changes: Partial<Mamba2Spec> = {}): Mamba2Spec {
  const sizes = { length: 3, keyHeads: 1, valueHeads: 4, keyDim: 8, valueDim: 4 } as const;
  return { type: "mamba2", ...sizes, biases: false, filterBiases: true, ...changes };
}

/** Layers of one block each: Mamba 2, an FFN, attention and another FFN. */
export function tinyBlocks({
  neurons = 6,
  mamba = {},
  attention = {},
}: {
  readonly neurons?: number;
  readonly mamba?: Partial<Mamba2Spec>;
  readonly attention?: Partial<LayerSpec>;
} = {}): readonly Partial<LayerSpec>[] {
  const ffn = mixerLayer({ type: "none" }, { neurons, biases: [] });
  return [tinyMamba(mamba, 0), ffn, { rope: null, ...attention, neurons: 0 }, ffn];
}

/** Constants of activations (`XIELUActivation` of activations.py of transformers). */
const CONSTANTS: Readonly<Record<string, number>> = { beta: 0.5, eps: -1e-6 };

/** A model with random weights in memory: norm weights near 1, everything else in [-0.5, 0.5), but constants. */
export function tinyModel(options: TinyModelOptions = {}): Model {
  const spec = tinySpec(options);
  const tensors = new Map(
    weightsOf(spec).map(({ name, shape }) => {
      const constant = CONSTANTS[name.split(".").at(-1)!];
      if (constant !== undefined) return [name, { shape, data: Float32Array.of(constant) }];
      const isOffset = spec.normOffset === 1 && !name.includes("linear_attn");
      const isFactor = /norm.*[.]weight$/.test(name) && !isOffset;
      const centre = isFactor || /(layer_scalar|[._]scale)$/.test(name) ? 1 : 0;
      return [name, randomTensor(shape, { seed: options.seed ?? 0, name, centre })];
    }),
  );
  const origin = { name: "tiny", format: "memory", dtype: "F32" } as const;
  return { spec, weights: memorySource(tensors), files: [], origin };
}

/** A tensor of values in [centre - 0.5, centre + 0.5), a function of the seed and the name only. */
export function randomTensor(
  shape: readonly number[],
  { seed = 0, name = "", centre = 0 }: { seed?: number; name?: string; centre?: number } = {},
): Tensor {
  const next = randomStream(seed, name);
  const data = Float32Array.from({ length: elementCount(shape) }, () => centre - 0.5 + next());
  return { shape, data };
}

function tinyLayer(layer: Partial<LayerSpec>, headDim: number): LayerSpec {
  return {
    neurons: 6,
    kvGroups: 2,
    groupSize: 2,
    window: null,
    rope: { theta: 10000, rotaryDim: headDim, scaling: null },
    biases: [],
    ...layer,
  };
}
