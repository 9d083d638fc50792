/**
 * A whole decoder as one graph, in the layout of Optimum and transformers.js: `input_ids`, `attention_mask`,
 * `position_ids` and the past keys and values of every layer give `logits` and the present keys and values. Every layer
 * has its own number of KV heads. Weights are initializers in whatever format their source chose.
 *
 * Positions and masks are computed in the graph: a query sees the keys up to its own place in the sequence, within the
 * layer's window, where the attention mask is 1. So sequences of a batch may be padded on the left.
 */
import { getOrMake } from "../../base/map_values.ts";
import {
  type ConvolutionSpec,
  isLinear,
  type LinearAttentionSpec,
  linearChannels,
  stateShape,
} from "../../model/mixer_spec.ts";
import type { RopeSpec } from "../../model/rope_spec.ts";
import type { LayerSpec, ModelSpec } from "../../model/spec.ts";
import { EMBEDDING_NORM, PER_LAYER, POSITION_EMBEDDING } from "../../model/weight_names.ts";
import { NORM_PARTS, type NormPart } from "../../model/weights.ts";
import type { Graph, Value, ValueType } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { cos, floor, gatherRows, log, powers, range, sin, sizeOf } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import type { ConvolutionInputs } from "./convolution.ts";
import { addLayer } from "./decoder.ts";
import { norm, type RotaryAngles } from "./formulas.ts";
import { attentionFactor, dynamicExponents, inverseFrequencies, queryGrowth } from "./frequencies.ts";
import { addLogits, headWeights } from "./head.ts";
import {
  type LayerParts,
  type LayerValues,
  type LinearAttentionInputs,
  layerSizes,
  layerStructure,
} from "./layer_structure.ts";
import { addOwnInputs } from "./own_inputs.ts";
import { INVISIBLE, slopeTensor } from "./positions.ts";
import type { WeightSupply } from "./weight_supply.ts";

/** Source of a decoder's weights. */
export interface DecoderWeights {
  /** Element type of cached keys and values. */
  readonly cacheType: ValueType;
  /** Whether all experts compute for every token, or only the token's own. */
  readonly allExperts: boolean;
  /** Rows of the embedding matrix: ids [B, T] give float32 [B, T, C]. */
  embed(ids: Value): Value;
  /** What inputs of layers are made from (`PerLayerInputs`). */
  readonly own: {
    /** Rows of the table: ids [B, T] give float32 [B, T, layers * size]. */
    rows(ids: Value): Value;
    /** The projection of embeddings: [B, T, C] gives [B, T, layers * size]. */
    project(x: Value): Value;
  };
  layer(index: number): WeightSupply;
  /** A weight outside the layers that is in no product, float32, by its name in the checkpoint. */
  tensor(name: string): Value;
  /** Vocabulary projection: [B, T, C] gives [B, T, V]. */
  project(x: Value): Value;
}

/** Names of dimensions. transformers.js sizes empty caches by `batch_size` and takes 0 for any other name. */
const DIMS = {
  batch: "batch_size",
  tokens: "sequence_length",
  past: "past_sequence_length",
  total: "total_sequence_length",
} as const;

/** What transformers.js calls the states of linear attention. */
const STATE_NAMES: Readonly<Record<LinearAttentionSpec["type"], string>> = {
  delta: "recurrent",
  mamba2: "ssm",
};

/**
 * The graph of a decoder; its inputs and outputs have the names that transformers.js expects.
 * @param b - an empty builder, the one that `weights` adds to
 */
export function buildDecoder(b: GraphBuilder, spec: ModelSpec, weights: DecoderWeights): Graph {
  const ids = b.input("input_ids", [DIMS.batch, DIMS.tokens], "int64");
  const attentionMask = b.input("attention_mask", [DIMS.batch, DIMS.total], "int64");
  const positions = b.input("position_ids", [DIMS.batch, DIMS.tokens], "int64");
  const embedded = weights.embed(ids);
  const scaled = spec.embeddingScale === 1 ? embedded : b.mul(embedded, b.scalar(spec.embeddingScale));
  const placed = withPositions(b, scaled, { spec, weights, positions });
  let hidden = withNorm(b, placed, { spec, weights });
  const layers = new CachedLayers(b, spec, {
    weights,
    positions,
    masks: new MaskBuilder(b, ids, attentionMask),
    ownInputs: spec.perLayerInputs === null ? null : ownInputs(b, { spec, weights, ids, embedded: scaled }),
  });
  for (const index of spec.layers.keys()) hidden = layers.add(hidden, index);
  const names = headWeights(spec);
  const vectorOf = (name: string | undefined): Value | null =>
    name === undefined ? null : weights.tensor(name);
  const logits = addLogits(b, spec, {
    input: hidden,
    norm: vectorOf(names.norm),
    normBias: vectorOf(names.normBias),
    project: (x) => weights.project(x),
    bias: vectorOf(names.bias),
  });
  b.output("logits", logits);
  return b.finish();
}

/** The inputs of all layers, [B, T, layers, size]. */
function ownInputs(
  b: GraphBuilder,
  {
    spec,
    weights,
    ids,
    embedded,
  }: {
    readonly spec: ModelSpec;
    readonly weights: DecoderWeights;
    readonly ids: Value;
    readonly embedded: Value;
  },
): Value {
  const { rows, project } = weights.own;
  const norm = weights.tensor(PER_LAYER.norm);
  return addOwnInputs(b, spec, { embedded, rows: rows(rowsOfInputs(b, spec, ids)), project, norm });
}

/** The rows of tokens in the table; those that it has no row for have that of token 0. */
function rowsOfInputs(b: GraphBuilder, { perLayerInputs, vocabSize }: ModelSpec, ids: Value): Value {
  const { vocabSize: rows } = perLayerInputs!;
  return rows < vocabSize ? b.mul(ids, b.cast(b.greater(b.integer(rows), ids), "int64")) : ids;
}

/** Adds layers with what they keep of the past as inputs and outputs. */
class CachedLayers {
  readonly #b: GraphBuilder;
  readonly #spec: ModelSpec;
  readonly #weights: DecoderWeights;
  readonly #masks: MaskBuilder;
  readonly #ownInputs: Value | null;
  /** Keys and values of past and present tokens of layers that others read. */
  readonly #shared = new Map<number, Readonly<Record<"keys" | "values", Value>>>();
  readonly #anglesOf: (rope: RopeSpec) => RotaryAngles;
  readonly #maskOf: (layer: MaskedLayer) => Value;

  constructor(
    b: GraphBuilder,
    spec: ModelSpec,
    {
      weights,
      positions,
      masks,
      ownInputs,
    }: {
      readonly weights: DecoderWeights;
      readonly positions: Value;
      readonly masks: MaskBuilder;
      readonly ownInputs: Value | null;
    },
  ) {
    this.#b = b;
    this.#spec = spec;
    this.#weights = weights;
    this.#masks = masks;
    this.#ownInputs = ownInputs;
    this.#anglesOf = memoized((rope: RopeSpec) => rotaryAngles(b, positions, rope));
    this.#maskOf = memoized((layer: MaskedLayer) => masks.maskOf(layer));
  }

  /** @returns the input of the next layer */
  add(input: Value, index: number): Value {
    const layer = this.#spec.layers[index]!;
    const structure = layerStructure(this.#spec, index);
    const isDense = layer.experts === undefined || this.#weights.allExperts;
    const parts = {
      structure: isDense ? structure : { ...structure, sparse: "apart" as const },
      weights: this.#weights.layer(index),
      sizes: layerSizes(layer),
    };
    const { mixer } = layer;
    if (mixer === undefined) return this.#withAttention(input, index, parts);
    if (mixer.type === "none") return addLayer(this.#b, parts, { input, mixer }).output;
    return isLinear(mixer)
      ? this.#withLinear(input, index, { ...parts, mixer })
      : this.#withConvolution(input, index, { ...parts, mixer });
  }

  #withAttention(input: Value, index: number, parts: LayerParts): Value {
    const layer = this.#spec.layers[index]!;
    const { groupSize, window, rope, kvSharing } = layer;
    const slopes = slopeTensor(layer);
    const shared = kvSharing?.role === "reader" ? this.#shared.get(kvSharing.source)! : null;
    const { headDim, valueDim } = parts.structure;
    const past = (kind: "key" | "value"): Value => {
      const shape = [DIMS.batch, parts.sizes.K, DIMS.past, kind === "key" ? headDim : valueDim];
      return this.#b.input(`past_key_values.${index}.${kind}`, shape, this.#weights.cacheType);
    };
    const attention = {
      angles: rope === null ? null : this.#anglesOf(rope),
      mask: this.#maskOf({ groupSize, window, ...(slopes && { alibi: true }) }),
      slopes: slopes && this.#b.reshape(this.#b.vector(slopes.data), slopes.shape),
      ...(shared ? { past: null, shared } : { past: { keys: past("key"), values: past("value") } }),
    };
    const ownInput = this.#ownInputOf(index);
    const beside = layer.beside && { beside: this.#linearInputs(index, layer.beside) };
    const { output, carried } = addLayer(this.#b, parts, { input, ownInput, attention, ...beside });
    if (shared) return output;
    const { keys, values } = carried() as Readonly<Record<"keys" | "values", Value>>;
    if (layer.beside !== undefined) this.#linearOutputs(index, layer.beside, carried());
    this.#b.output(`present.${index}.key`, keys);
    this.#b.output(`present.${index}.value`, values);
    this.#shared.set(index, { keys, values });
    return output;
  }

  /** The layer's own input, [B, T, size]; null without one. */
  #ownInputOf(index: number): Value | null {
    if (this.#ownInputs === null) return null;
    const [batch, tokens, , size] = this.#ownInputs.shape as readonly [Dim, Dim, Dim, Dim];
    const own = this.#b.slice(this.#ownInputs, 2, { start: index, end: index + 1 });
    return this.#b.reshape(own, [batch, tokens, size]);
  }

  #withConvolution(
    input: Value,
    index: number,
    { mixer, ...parts }: LayerParts & { readonly mixer: ConvolutionSpec },
  ): Value {
    const convolution = this.#filterInputs(index, mixer.length, this.#spec.hiddenSize);
    const { output, carried } = addLayer(this.#b, parts, { input, mixer, convolution });
    this.#filterOutput(index, carried().state!);
    return output;
  }

  #withLinear(
    input: Value,
    index: number,
    { mixer, ...parts }: LayerParts & { readonly mixer: LinearAttentionSpec },
  ): Value {
    const recurrent = this.#linearInputs(index, mixer);
    const { output, carried } = addLayer(this.#b, parts, { input, mixer, recurrent });
    this.#linearOutputs(index, mixer, carried());
    return output;
  }

  #linearInputs(index: number, mixer: LinearAttentionSpec): LinearAttentionInputs {
    const name = `past_${STATE_NAMES[mixer.type]}.${index}`;
    return {
      filters: this.#filterInputs(index, mixer.length, linearChannels(mixer).filtered),
      past: this.#b.input(name, [DIMS.batch, ...stateShape(mixer)], this.#weights.cacheType),
    };
  }

  #linearOutputs(
    index: number,
    { type }: LinearAttentionSpec,
    { state, recurrent }: ReturnType<LayerValues["carried"]>,
  ): void {
    this.#filterOutput(index, state!);
    this.#b.output(`present_${STATE_NAMES[type]}.${index}`, recurrent!);
  }

  /** transformers.js keeps as many tokens as filters are long, one more than they need, with channels first. */
  #filterInputs(index: number, length: number, channels: number): ConvolutionInputs {
    const shape = [DIMS.batch, channels, length];
    const past = this.#b.input(`past_conv.${index}`, shape, this.#weights.cacheType);
    return { past: this.#b.transpose(past, [0, 2, 1]), visible: this.#masks.visible() };
  }

  #filterOutput(index: number, state: Value): void {
    this.#b.output(`present_conv.${index}`, this.#b.transpose(state, [0, 2, 1]));
  }
}

/** Embeddings [B, T, C] with a norm, where the model has one for them. */
function withNorm(
  b: GraphBuilder,
  embedded: Value,
  { spec, weights }: { readonly spec: ModelSpec; readonly weights: DecoderWeights },
): Value {
  if (!spec.embeddingNorm) return embedded;
  const tensor = (part: NormPart): Value | null =>
    NORM_PARTS[spec.normParameters].includes(part) ? weights.tensor(`${EMBEDDING_NORM}.${part}`) : null;
  return norm(b, embedded, { ...spec, weight: tensor("weight"), bias: tensor("bias") });
}

/** Embeddings [B, T, C] with those of their positions [B, T], where these are learned. */
function withPositions(
  b: GraphBuilder,
  embedded: Value,
  {
    spec: { learnedPositions },
    weights,
    positions,
  }: { readonly spec: ModelSpec; readonly weights: DecoderWeights; readonly positions: Value },
): Value {
  if (learnedPositions === null) return embedded;
  const { offset } = learnedPositions;
  const rows = offset === 0 ? positions : b.add(positions, b.integer(offset));
  return b.add(embedded, gatherRows(b, weights.tensor(POSITION_EMBEDDING), rows));
}

/** Cosines and sines of the tokens' angles, times the attention factor, and the factors of their queries. */
function rotaryAngles(b: GraphBuilder, positions: Value, rope: RopeSpec): RotaryAngles {
  const [batch, tokens] = positions.shape;
  const column = b.reshape(b.cast(positions, "float32"), [batch!, tokens!, 1, 1]);
  const angles = b.mul(column, frequenciesOf(b, positions, rope));
  const factor = attentionFactor(rope);
  const scaled = (x: Value): Value => (factor === 1 ? x : b.mul(x, b.scalar(factor)));
  return {
    cos: scaled(cos(b, angles)),
    sin: scaled(sin(b, angles)),
    queryScale: queryScaleOf(b, column, rope),
  };
}

/** Factors of the queries at positions [B, T, 1, 1]; null where they have none. */
function queryScaleOf(b: GraphBuilder, positions: Value, rope: RopeSpec): Value | null {
  const growth = queryGrowth(rope);
  if (growth === null) return null;
  const stretches = floor(b, b.div(positions, b.scalar(growth.original)));
  return b.add(b.scalar(1), b.mul(b.scalar(growth.beta), log(b, b.add(b.scalar(1), stretches))));
}

/** Frequencies of rotated channel pairs, [rotaryDim / 2], with the scaling that the last position calls for. */
function frequenciesOf(b: GraphBuilder, positions: Value, rope: RopeSpec): Value {
  const { scaling } = rope;
  const usual = b.vector(inverseFrequencies(rope, 0));
  if (scaling?.type !== "longrope" && scaling?.type !== "dynamic") return usual;
  const { originalMaxPositions: original } = scaling;
  const last = b.reshape(b.reduceMax(b.cast(positions, "float32"), [0, 1]), [1]);
  const excess = b.sub(last, b.scalar(original - 1));
  const isLong = b.greater(excess, b.scalar(0));
  if (scaling.type === "dynamic") {
    const growth = b.mul(b.mul(isLong, excess), b.scalar(scaling.factor / original));
    return b.mul(usual, powers(b, b.add(b.scalar(1), growth), b.vector(dynamicExponents(rope))));
  }
  const long = b.vector(inverseFrequencies(rope, original + 1));
  return b.add(b.mul(b.sub(b.scalar(1), isLong), usual), b.mul(isLong, long));
}

/** What masks depend on. */
interface MaskedLayer extends Pick<LayerSpec, "groupSize" | "window"> {
  /** Visible keys have distances in place of zeros (`withDistances`). */
  readonly alibi?: true;
}

/** Builds attention masks from what all layers share: positions of queries and keys, and which keys are padding. */
class MaskBuilder {
  readonly #b: GraphBuilder;
  /** Positions of the queries in the sequence, [T, 1]. */
  readonly #queries: Value;
  /** Positions of the keys, [S]. */
  readonly #keys: Value;
  /** 1 for keys that are padding, else 0, [B, 1, 1, S]. */
  readonly #padding: Value;
  /** The attention mask [B, S] as numbers, and the places of the queries in it, int64 [T]. */
  readonly #visibleKeys: Value;
  readonly #present: Value;
  #visible: Value | undefined;

  constructor(b: GraphBuilder, ids: Value, attentionMask: Value) {
    this.#b = b;
    const [batch, total] = attentionMask.shape as readonly [Dim, Dim];
    const [tokens, span] = [sizeOf(b, ids, 1), sizeOf(b, attentionMask, 1)];
    const places = (start: Value, dim: string): Value => range(b, { start, end: span, dim });
    this.#present = places(b.sub(span, tokens), DIMS.tokens);
    this.#queries = b.reshape(b.cast(this.#present, "float32"), [DIMS.tokens, 1]);
    this.#keys = b.cast(places(b.integer(0), DIMS.total), "float32");
    this.#visibleKeys = b.cast(attentionMask, "float32");
    this.#padding = b.sub(b.scalar(1), b.reshape(this.#visibleKeys, [batch, 1, 1, total]));
  }

  /** 1 for the present tokens, 0 for padding among them, [B, T, 1]. */
  visible(): Value {
    const b = this.#b;
    const rows = (): Value => gatherRows(b, b.transpose(this.#visibleKeys, [1, 0]), this.#present);
    this.#visible ??= b.reshape(b.transpose(rows(), [1, 0]), [DIMS.batch, DIMS.tokens, 1]);
    return this.#visible;
  }

  /** Additive mask of the scores, [B, 1, g*T, S], the same for every head of a group. */
  maskOf({ groupSize, window, alibi }: MaskedLayer): Value {
    const b = this.#b;
    const distance = b.sub(this.#queries, this.#keys);
    const future = b.greater(b.scalar(0), distance);
    const outside = window === null ? [] : [b.greater(distance, b.scalar(window - 1))];
    const reasons = [future, ...outside].reduce((sum, reason) => b.add(sum, reason), this.#padding);
    const hidden = b.mul(reasons, b.scalar(INVISIBLE));
    if (alibi) return b.sub(hidden, distance);
    return b.concat(new Array<Value>(groupSize).fill(hidden), 2, "gT");
  }
}

/** Memoizes a function of a JSON value. */
function memoized<A, R>(compute: (argument: A) => R): (argument: A) => R {
  const results = new Map<string, R>();
  return (argument) => getOrMake(results, JSON.stringify(argument), () => compute(argument));
}
