/**
 * A decoder layer as a graph; layer_builder.ts has its operators, head.ts the head. Families differ by the properties
 * of `LayerStructure` only; widths (F neurons, K KV groups) are symbolic, so one compiled graph serves layers pruned to
 * any width.
 *
 * Weights enter under their checkpoint names without the `model.layers.i.` prefix, in their stored [out, in] layout.
 * Based on transformers' modeling_llama.py, modeling_qwen3.py, modeling_gemma2.py and modeling_lfm2.py (eager
 * attention).
 */
import { linearChannels, stateShape } from "../../model/spec.ts";
import type { SpaceKind } from "../../model/weights.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import type { Dim } from "../ir/shapes.ts";
import { type AttentionSpan, blockSizes } from "./attention.ts";
import type { ConvolutionInputs } from "./convolution.ts";
import { type FirstHalf, LayerBuilder } from "./layer_builder.ts";
import type {
  AttentionInputs,
  FirstHalfInputs,
  HalfValues,
  LayerParts,
  LayerSizes,
  LayerStructure,
  LayerValues,
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
 * Adds a decoder layer to a graph. Inputs besides weights: `hidden` [B, T, C], `cos` and `sin` [T, rotaryDim / 2] if
 * that is not 0, `query_scale` [T] if queries are scaled, `mask` [g*T, T] (0 where a query sees a key, very negative
 * elsewhere; queries ordered by head, then token; with a span the mask of one block, `blockSizes`), `slopes` [g, K, 1,
 * 1] with ALiBi, where masks have distances in place of zeros (`withDistances`) and g is 1, and with `cached` the keys and values of the past, `past_keys` and `past_values` [B, K, P, H], where P may exceed their number, and
 * `past_mask` [g*T, P], which hides the unused places. With `forest` every sequence has angles, scales and a mask of
 * its own: [B, T, rotaryDim / 2], [B, T] and [B, 1, g*T, T]. A layer without attention has none of these; with `cached`
 * it has `past_state`, and with `forest` `ancestor1`, `ancestor2`, ... (`ConvolutionInputs`). With linear attention, it
 * also has `past_recurrent`, and `paths` and `places` (`ForestPaths`); all but these need the number of tokens (`span`).
 */
export function buildLayer(
  b: GraphBuilder,
  structure: LayerStructure,
  options: LayerGraphOptions = {},
): LayerValues {
  const { weights = new WeightInputs(b), sizes = ANY_SIZES } = options;
  const { span, hiddenSize } = structure;
  const input = b.input("hidden", [batchSize(options), span?.tokens ?? "T", hiddenSize]);
  const layer = addLayer(
    b,
    { structure, weights, sizes },
    { input, ...firstHalfInputs(b, structure, options) },
  );
  return { ...layer, weights: weights.inputs };
}

/** Adds a decoder layer whose inputs are values of a larger graph. */
export function addLayer(
  b: GraphBuilder,
  parts: LayerParts,
  { input, ...inputs }: FirstHalfInputs & { readonly input: Value },
): Omit<LayerValues, "weights"> {
  const layer = new LayerBuilder(b, parts);
  const first = firstHalf(layer, input, inputs);
  const { stream: middle, tap, ungated, carried } = first;
  const ffn = layer.ffnBlock({ input: parts.structure.parallel ? input : middle, stream: middle });
  const halves = new Map<SpaceKind, HalfValues>();
  if (tap !== null) halves.set("kv", { tap, ...(ungated && { ungated }), stream: middle });
  halves.set("ffn", ffn);
  return {
    input,
    output: ffn.stream,
    halves,
    projected: layer.projected,
    middle,
    carried,
  };
}

function firstHalf(layer: LayerBuilder, input: Value, inputs: FirstHalfInputs): FirstHalf {
  return "mixer" in inputs ? layer.mixerBlock(input, inputs) : layer.attentionBlock(input, inputs.attention);
}

/** Number of sequences: one in a graph of fixed sizes. */
function batchSize({ sizes }: LayerGraphOptions): Dim {
  return sizes === undefined ? "B" : 1;
}

/** Inputs of the graph for a layer's first half, see `buildLayer`. */
function firstHalfInputs(
  b: GraphBuilder,
  structure: LayerStructure,
  options: LayerGraphOptions,
): FirstHalfInputs {
  const { hiddenSize, mixer } = structure;
  if (mixer === undefined) return { attention: attentionInputs(b, structure, options) };
  if (mixer.type === "convolution")
    return { mixer, convolution: filterInputs(b, { length: mixer.length, channels: hiddenSize }, options) };
  const { cached = false, forest = false } = options;
  const states = [batchSize(options), ...stateShape(mixer)];
  return {
    mixer,
    recurrent: {
      filters: filterInputs(b, { length: mixer.length, channels: linearChannels(mixer).filtered }, options),
      past: cached ? b.input("past_recurrent", states) : null,
      ...(forest && {
        paths: {
          rows: b.input("paths", ["L", "P"], "int32"),
          places: b.input("places", ["B", "T"], "int32"),
        },
      }),
    },
  };
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
  { headDim, groupSize, rotaryDim, scalesQueries, span, alibi }: LayerStructure,
  options: LayerGraphOptions,
): AttentionInputs {
  const { cached = false, forest = false, sizes = ANY_SIZES } = options;
  const half = rotaryDim / 2;
  const batch: readonly Dim[] = forest ? ["B"] : [];
  const tokens = span?.tokens ?? "T";
  const rows = alibi ? "T" : "gT";
  const angles = (name: string): Value =>
    b.reshape(b.input(name, [...batch, tokens, half]), [...batch, tokens, 1, half]);
  const queryScale = (): Value =>
    b.reshape(b.input("query_scale", [...batch, tokens]), [...batch, tokens, 1, 1]);
  const past = (name: string): Value => b.input(name, [batchSize(options), sizes.K, "P", headDim]);
  return {
    angles:
      rotaryDim === 0
        ? null
        : { cos: angles("cos"), sin: angles("sin"), queryScale: scalesQueries ? queryScale() : null },
    mask: b.input("mask", maskShape(forest, span, rows)),
    slopes: alibi ? b.input("slopes", [groupSize, sizes.K, 1, 1]) : null,
    past: null,
    cache: cached
      ? { keys: past("past_keys"), values: past("past_values"), mask: b.input("past_mask", [rows, "P"]) }
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
