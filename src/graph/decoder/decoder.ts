/**
 * A decoder layer as a graph; layer_builder.ts has its operators, head.ts the head. Families differ by the properties
 * of `LayerStructure` only; widths (F neurons, K KV groups) are symbolic, so one compiled graph serves layers pruned to
 * any width.
 *
 * Weights enter under their checkpoint names without the `model.layers.i.` prefix, in their stored [out, in] layout.
 * Based on transformers' modeling_llama.py, modeling_qwen3.py, modeling_gemma2.py and modeling_lfm2.py (eager
 * attention).
 */
import { type LinearAttentionSpec, linearChannels, stateShape } from "../../model/mixer_spec.ts";
import type { SpaceKind } from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import type { Dim } from "../ir/shapes.ts";
import { type AttentionSpan, blockSizes } from "./attention.ts";
import type { ConvolutionInputs } from "./convolution.ts";
import { type FirstHalf, LayerBuilder } from "./layer_builder.ts";
import {
  type AttentionInputs,
  type FirstHalfInputs,
  type HalfValues,
  inputChannels,
  type LayerParts,
  type LayerSizes,
  type LayerStructure,
  type LayerValues,
  type LinearAttentionInputs,
  type SharedStream,
} from "./layer_structure.ts";
import { WeightInputs } from "./weight_supply.ts";

const ANY_SIZES: LayerSizes = { K: "K", N: "N", F: "F" };

/** Options of {@link buildLayer}. */
export interface LayerGraphOptions {
  /** Whether keys and values of the past are inputs. */
  readonly cached?: boolean;
  /** Whether every sequence has angles and a mask of its own. */
  readonly forest?: boolean;
  /** Sizes of one layer, for one sequence; symbolic, for any batch, when absent. */
  readonly sizes?: LayerSizes;
  /** The layer's weights, of which some may not be inputs; all are inputs when absent. */
  readonly weights?: WeightInputs;
}

/**
 * Adds a decoder layer to a graph. Inputs besides weights:
 *
 * - `hidden` [B, T, C], or more channels (`SharedStream`);
 * - `own_input` [B, T, size] where layers have such (`PerLayerInputs`);
 * - `cos` and `sin` [T, rotaryDim / 2] if that is not 0, and `query_scale` [T] if queries are scaled;
 * - `mask` [g*T, T]: 0 where a query sees a key, very negative elsewhere; queries ordered by head, then token. With a
 *   span the mask of one block (`blockSizes`);
 * - `slopes` [g, K, 1, 1] with ALiBi, where masks are of one head and have distances in place of zeros
 *   (`withDistances`);
 * - with `cached` the keys and values of the past, `past_keys` and `past_values` [B, K, P, H] or [B, K, P, valueDim],
 *   where P may exceed their number, and `past_mask` [g*T, P], which hides the unused places.
 *
 * With `forest` every sequence has angles, scales and a mask of its own: [B, T, rotaryDim / 2], [B, T] and [B, 1, g*T,
 * T]. A layer without attention has, of all but the first two, none; with `cached` it has `past_state`, and with
 * `forest` `ancestor1`, `ancestor2`, ... (`ConvolutionInputs`). With linear attention, it also has `past_recurrent`,
 * and `paths` and `places` (`ForestPaths`); all but these need the number of tokens (`span`). A layer with linear
 * attention beside attention has the inputs of both.
 */
export function buildLayer(
  b: GraphBuilder,
  structure: LayerStructure,
  options: LayerGraphOptions = {},
): LayerValues {
  const { weights = new WeightInputs(b) } = options;
  const sizes = sizesOf(structure, options);
  const { span, hiddenSize, sharing, ownInput, updates } = structure;
  const places = [batchSize(options), span?.tokens ?? "T"];
  const channels = inputChannels(hiddenSize, updates);
  const stream = b.input("hidden", [...places, channels + (sharing?.channels ?? 0)]);
  const input = sharing?.channels ? b.slice(stream, 2, { start: 0, end: channels }) : stream;
  const inputs = {
    input,
    ownInput: ownInput === undefined ? null : b.input("own_input", [...places, ownInput]),
    ...firstHalfInputs(b, { structure, stream }, options),
  };
  const layer = addLayer(b, { structure, weights, sizes }, inputs);
  const output = sharing === undefined ? layer.output : withShared(b, { layer, stream, sharing });
  return { ...layer, input: stream, output, weights: weights.inputs };
}

/** The layer's output with the keys and values that travel on behind it (`SharedStream`). */
function withShared(
  b: GraphBuilder,
  {
    layer,
    stream,
    sharing: { channels, added, isLast },
  }: {
    readonly layer: Pick<LayerValues, "output" | "carried">;
    readonly stream: Value;
    readonly sharing: SharedStream;
  },
): Value {
  if (isLast) return layer.output;
  const { output } = layer;
  const end = stream.shape[2] as number;
  const before = channels === 0 ? [] : [b.slice(stream, 2, { start: end - channels, end })];
  const { keys, values } = layer.carried();
  const own = added === undefined ? [] : [keys!, values!].map((heads) => joinedHeads(b, heads, added));
  const parts = [output, ...before, ...own];
  const size = parts.reduce((sum, { shape }) => sum + (shape[2] as number), 0);
  return b.concat(parts, 2, size);
}

/** Keys or values [B, K, T, H] as channels behind hidden states, [B, T, size]. */
function joinedHeads(b: GraphBuilder, heads: Value, size: number): Value {
  const [batch, , tokens] = heads.shape as readonly [Dim, Dim, Dim, Dim];
  return b.reshape(b.transpose(heads, [0, 2, 1, 3]), [batch, tokens, size]);
}

/** Keys or values [B, K, T, H] from channels behind hidden states. */
function splitHeads(
  b: GraphBuilder,
  stream: Value,
  { start, size, headDim }: { readonly start: number; readonly size: number; readonly headDim: number },
): Value {
  const channels = b.slice(stream, 2, { start, end: start + size });
  const heads = b.reshape(channels, [...stream.shape.slice(0, 2), size / headDim, headDim]);
  return b.transpose(heads, [0, 2, 1, 3]);
}

/** Adds a decoder layer whose inputs are values of a larger graph. */
export function addLayer(
  b: GraphBuilder,
  parts: LayerParts,
  { input, ownInput = null, ...inputs }: FirstHalfInputs & AddedInputs,
): Omit<LayerValues, "weights"> {
  const layer = new LayerBuilder(b, parts);
  const predicted = layer.predictions(input);
  const read = predicted?.active ?? input;
  const first = firstHalf(layer, read, inputs);
  const { stream: middle, tap, beforeOutputGate, carried } = first;
  const { parallel, lacksFfn } = parts.structure;
  const ffn = lacksFfn ? null : layer.ffnBlock({ input: parallel ? read : middle, stream: middle });
  const output = layer.outputBlock(ffn?.stream ?? middle, ownInput, predicted);
  const halves = new Map<SpaceKind, HalfValues>();
  if (tap !== null)
    halves.set("kv", { tap, channels: tap, ...(beforeOutputGate && { beforeOutputGate }), stream: middle });
  if (ffn !== null) halves.set("ffn", ffn);
  return {
    input,
    output,
    halves,
    projected: layer.projected,
    middle,
    carried,
  };
}

interface AddedInputs {
  /** [B, T, C] */
  readonly input: Value;
  /** The layer's own input (`PerLayerInputs`), [B, T, size]; null without one. */
  readonly ownInput?: Value | null;
}

function firstHalf(layer: LayerBuilder, input: Value, inputs: FirstHalfInputs): FirstHalf {
  if ("attention" in inputs) return layer.attentionBlock(input, inputs.attention, inputs.beside);
  if ("convolution" in inputs || "recurrent" in inputs) return layer.mixerBlock(input, inputs);
  return { tap: null, stream: input, carried: () => ({}) };
}

/** Sizes of a layer; the number of heads of a layer that reads another's is that of the other. */
function sizesOf({ headDim, sharing }: LayerStructure, { sizes = ANY_SIZES }: LayerGraphOptions): LayerSizes {
  return sharing?.read === undefined ? sizes : { ...sizes, K: sharing.read.size / headDim };
}

/** Number of sequences: one in a graph of fixed sizes. */
function batchSize({ sizes }: LayerGraphOptions): Dim {
  return sizes === undefined ? "B" : 1;
}

/** Inputs of the graph for a layer's first half, see `buildLayer`. */
function firstHalfInputs(
  b: GraphBuilder,
  { structure, stream }: { readonly structure: LayerStructure; readonly stream: Value },
  options: LayerGraphOptions,
): FirstHalfInputs {
  const { hiddenSize, mixer, beside } = structure;
  if (mixer === undefined) {
    const attention = attentionInputs(b, structure, options);
    return {
      attention: { ...attention, ...sharedInputs(b, { structure, stream }) },
      ...(beside && { beside: recurrentInputs(b, beside, options) }),
    };
  }
  if (mixer.type === "none") return { mixer };
  if (mixer.type === "convolution")
    return { mixer, convolution: filterInputs(b, { length: mixer.length, channels: hiddenSize }, options) };
  return { mixer, recurrent: recurrentInputs(b, mixer, options) };
}

function recurrentInputs(
  b: GraphBuilder,
  mixer: LinearAttentionSpec,
  options: LayerGraphOptions,
): LinearAttentionInputs {
  const { cached = false, forest = false } = options;
  const states = [batchSize(options), ...stateShape(mixer)];
  return {
    filters: filterInputs(b, { length: mixer.length, channels: linearChannels(mixer).filtered }, options),
    past: cached ? b.input("past_recurrent", states) : null,
    ...(forest && {
      paths: {
        rows: b.input("paths", ["L", "P"], "int32"),
        places: b.input("places", ["B", "T"], "int32"),
      },
    }),
  };
}

/** The keys and values of another layer, of a layer that reads them. */
function sharedInputs(
  b: GraphBuilder,
  { structure, stream }: { readonly structure: LayerStructure; readonly stream: Value },
): Pick<AttentionInputs, "shared"> {
  const { hiddenSize, headDim, sharing, updates } = structure;
  if (sharing?.read === undefined) return {};
  const { start, size } = sharing.read;
  const own = inputChannels(hiddenSize, updates);
  const heads = (first: number): Value => splitHeads(b, stream, { start: own + first, size, headDim });
  return { shared: { keys: heads(start), values: heads(start + size) } };
}

/** Inputs of filters over `length` tokens. */
function filterInputs(
  b: GraphBuilder,
  { length, channels }: { readonly length: number; readonly channels: number },
  options: LayerGraphOptions,
): ConvolutionInputs {
  const { cached = false, forest = false } = options;
  const before = length - 1;
  const ancestors = (): readonly Value[] =>
    Array.from({ length: before }, (_, d) => b.input(`ancestor${d + 1}`, ["B", "T"], "int32"));
  return {
    past: cached ? b.input("past_state", [batchSize(options), before, channels]) : null,
    ...(forest && { ancestors: ancestors() }),
  };
}

function attentionInputs(
  b: GraphBuilder,
  structure: LayerStructure,
  options: LayerGraphOptions,
): AttentionInputs {
  const { headDim, valueDim, groupSize, rotaryDim, scalesQueries, span, alibi } = structure;
  const { cached = false, forest = false } = options;
  const { K } = sizesOf(structure, options);
  const half = rotaryDim / 2;
  const batch: readonly Dim[] = forest ? ["B"] : [];
  const tokens = span?.tokens ?? "T";
  const rows = alibi ? "T" : "gT";
  const angles = (name: string): Value =>
    b.reshape(b.input(name, [...batch, tokens, half]), [...batch, tokens, 1, half]);
  const queryScale = (): Value =>
    b.reshape(b.input("query_scale", [...batch, tokens]), [...batch, tokens, 1, 1]);
  const past = (name: string, size: number): Value => b.input(name, [batchSize(options), K, "P", size]);
  return {
    angles:
      rotaryDim === 0
        ? null
        : { cos: angles("cos"), sin: angles("sin"), queryScale: scalesQueries ? queryScale() : null },
    mask: b.input("mask", maskShape(forest, span, rows)),
    slopes: alibi ? b.input("slopes", [groupSize, K, 1, 1]) : null,
    past: null,
    cache: cached
      ? {
          keys: past("past_keys", headDim),
          values: past("past_values", valueDim),
          mask: b.input("past_mask", [rows, "P"]),
        }
      : null,
  };
}

function maskShape(forest: boolean, span: AttentionSpan | undefined, rows: Dim): readonly Dim[] {
  if (span !== undefined) {
    const { queries, before } = blockSizes(span);
    return [queries, before + queries];
  }
  return forest ? ["B", 1, rows, "T"] : [rows, "T"];
}
