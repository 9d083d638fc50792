/**
 * The programs of a decoder layer, one graph each, for calibration, evaluation, gradients and generation. Every program
 * takes the inputs of `buildLayer` and gives `hidden` or its gradient. Those of the head are in head_programs.ts.
 */

import { getOrMake } from "../../base/map_values.ts";
import { CORRECTION } from "../../model/expert_weights.ts";
import { mixerOf } from "../../model/mixer_layers.ts";
import { isLinear } from "../../model/mixer_spec.ts";
import { OUTPUT_PROJECTION } from "../../model/spaces.ts";
import { moduleOf } from "../../model/weight_names.ts";
import { gradients } from "../ir/differentiate.ts";
import type { Graph, Value } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { endOfLast } from "../ir/operators.ts";
import { valuesAsInputs } from "../ir/rewrite.ts";
import type { Dim } from "../ir/shapes.ts";
import { type AttentionSpan, BLOCK_QUERIES } from "./attention.ts";
import { buildLayer, type LayerGraphOptions } from "./decoder.ts";
import { sizeOfPart } from "./experts.ts";
import type { LayerStructure, LayerValues } from "./layer_structure.ts";
import { expertOfFeed } from "./weight_supply.ts";

/** Programs of a decoder layer. */
export type LayerProgram =
  | "forward"
  | "forest"
  | "cached"
  | "statistics"
  | "gram"
  | "moments"
  | "statisticsAndMoments"
  | "keeping"
  | BackwardProgram
  | `${BackwardProgram}Kept`;
/** Programs of the backward pass. */
export type BackwardProgram = "backward" | "train" | "slopes";

/** Programs whose positions are not those of whole sequences. */
const ANY_POSITIONS: ReadonlySet<LayerProgram> = new Set(["forest", "cached"]);

/**
 * The structure of a program's graph for sequences of one length; attention goes in blocks where they are long, linear
 * attention in chunks, and experts compute for their own tokens alone.
 * @param span - `sparse` is false for devices that compute all experts faster; true when absent
 */
export function structureFor(
  program: LayerProgram,
  layer: LayerStructure,
  { tokens, window, sparse = true }: AttentionSpan & { readonly sparse?: boolean },
): LayerStructure {
  const isSparse = sparse && layer.experts !== undefined;
  const structure: LayerStructure = isSparse ? { ...layer, sparse } : layer;
  const needsLength = tokens > BLOCK_QUERIES || isLinear(mixerOf(structure));
  if (ANY_POSITIONS.has(program) || !needsLength) return structure;
  return { ...structure, span: { tokens, window: window !== null && window < tokens ? window : null } };
}

/**
 * - `forward`: hidden
 * - `forest`: the same for token forests, with angles and a mask for each
 * - `cached`: hidden, and `keys` and `values` of its own tokens [B, K, T, H], with `past_keys` and `past_values` [B, K,
 *   P, H] as inputs, of which the first `offset` places are used; or, of a filter, `state` with `past_state`, and of
 *   linear attention `recurrent` with `past_recurrent`
 * - `statistics`: hidden, and per kind of the layer's spaces and sequence `KIND.sum`, `.squares` and `.abs`, [B, 1,
 *   channels]
 * - `gram`: hidden, and per kind `KIND.sum` as in `statistics` and the Gram matrix `KIND.gram` [channels, channels],
 *   the sum over tokens of x x^T
 * - `moments`: hidden, and weighted moments of each kind's channels for least squares: the sum over tokens of w x x^T,
 *   its lower triangle in `GRAM_STRIPS` strips of rows, `KIND.products0` [r, c] and so on, each with the columns of its
 *   last row (of experts, [E, r, c], for each of them by itself), and `KIND.weighted` [B, 1, channels], the sums of
 *   w x; w is the inverse root mean square of the residual stream after this half of the layer, scaled to mean 1. The
 *   size of a strip is given by the lengths of the int32 inputs `KIND.rows0` [r] and `KIND.columns0` [c], whose
 *   elements are ignored
 * - `statisticsAndMoments`: the outputs of both
 * - `keeping`: hidden, and the activations that the `Kept` programs below take as inputs (`keptValues`)
 * - `backward`: with `upstream` [B, T, C], `kv.centre` and `ffn.centre` [channels] as inputs: gradient of the layer
 *   input as `hidden`, and `KIND.gate` [B, 1, channels] = d loss / d g at g = 1 where the output projection's input
 *   is centre + (x - centre) * g; experts have no centre, as for tokens of others they are 0 either way
 * - `train`: with `upstream` [B, T, C] as input: gradient of the layer input as `hidden`, and of every weight and bias
 *   that has axes, under its own name, but corrections of routers, which have none
 * - `slopes`: with `upstream` [B, T, C], and for each kind V changes of the output projection's output, the sum over
 *   its E parts of A (B x - c), as inputs `KIND.changeOutputs` A [V, E, C, r], `KIND.changeInputs` B [V, E, r,
 *   channels / E] and `KIND.changeCentres` c [V, E, 1, r]: gradient of the layer input as `hidden`, and `KIND.slopes`
 *   [B, V, E, T, 1], the loss's derivative along each change, by tokens; and, with `ffn.gateWeight` [C, units] and
 *   `ffn.centre` [units], `ffn.gateSquares` [B, 1, units], the sum over tokens of the squared gate gradients, as in
 *   `backward`, of a projection that has that weight
 * - `backwardKept`, `trainKept`, `slopesKept`: the same, with outputs of `keeping` as inputs
 */
export const LAYER_PROGRAMS: Readonly<Record<LayerProgram, (structure: LayerStructure) => Graph>> = {
  forward: (structure) => layerGraph(structure),
  forest: (structure) => {
    const b = new GraphBuilder();
    b.output("hidden", buildLayer(b, structure, { forest: true }).output);
    return b.finish();
  },
  cached: (structure) => {
    const b = new GraphBuilder();
    buildCached(b, structure);
    return b.finish();
  },
  statistics: (structure) => layerGraph(structure, addStatistics),
  gram: (structure) => layerGraph(structure, addGrams),
  moments: (structure) => layerGraph(structure, addMoments),
  statisticsAndMoments: (structure) =>
    layerGraph(structure, (b, layer) => {
      addStatistics(b, layer);
      addMoments(b, layer);
    }),
  keeping: (structure) => layerGraph(structure, (b, layer) => addKept(b, layer, structure)),
  backward: (structure) => backwardGraph(structure, addBackward),
  backwardKept: (structure) => backwardGraph(structure, addBackward, keptValues),
  train: (structure) => backwardGraph(structure, addTrain),
  trainKept: (structure) => backwardGraph(structure, addTrain, keptValues),
  slopes: (structure) => backwardGraph(structure, addSlopes),
  slopesKept: (structure) => backwardGraph(structure, addSlopes, keptValues),
};

/** Adds the program `cached` to a graph, for any layer or for one. */
export function buildCached(
  b: GraphBuilder,
  structure: LayerStructure,
  inputs: Pick<LayerGraphOptions, "sizes" | "weights"> = {},
): LayerValues {
  const layer = buildLayer(b, structure, { ...inputs, cached: true });
  b.output("hidden", layer.output);
  for (const [name, value] of Object.entries(layer.carried())) b.output(name, value);
  return layer;
}

function layerGraph(
  structure: LayerStructure,
  extend: (b: GraphBuilder, layer: LayerValues) => void = () => {},
): Graph {
  const b = new GraphBuilder();
  const layer = buildLayer(b, structure);
  b.output("hidden", layer.output);
  extend(b, layer);
  return b.finish();
}

/**
 * The sum over tokens of [B, T, N], as [B, 1, N]: a product with ones, since ONNX Runtime reduces an axis in the middle
 * in an order that depends on the number of threads.
 */
function sumOverTokens(b: GraphBuilder, x: Value): Value {
  return b.matmul(b.onesAlong(x, 1), x, { transA: true });
}

/**
 * Mean square up to which a hidden state counts as zero. It keeps inverses finite, and is too small to change other
 * sums.
 */
const SMALLEST_SQUARE = 1e-30;

/** Strips of rows in which `moments` computes a Gram matrix: n equal ones compute (n + 1) / 2n of its elements. */
export const GRAM_STRIPS: number = 8;

/**
 * Weight of each token, [B, T, 1]: the inverse root mean square of its hidden state, scaled to mean 1 over the
 * micro-batch. Every layer normalises the residual stream before reading it, so large hidden states matter no more than
 * small ones, and the few with massive activations (arXiv 2402.17762) would otherwise dominate. A hidden state of zero,
 * as an unused word may have, has weight 0.
 */
function tokenWeights(b: GraphBuilder, hidden: Value): Value {
  const smallest = b.scalar(SMALLEST_SQUARE);
  const square = b.reduceMean(b.mul(hidden, hidden), [-1]);
  const inverse = b.div(b.greater(square, smallest), b.sqrt(b.add(square, smallest)));
  return b.div(inverse, b.add(b.reduceMean(inverse, [0, 1]), smallest));
}

function addStatistics(b: GraphBuilder, { halves }: LayerValues): void {
  for (const [kind, { tap: x }] of halves) {
    b.output(`${kind}.sum`, sumOverTokens(b, x));
    b.output(`${kind}.squares`, sumOverTokens(b, b.mul(x, x)));
    b.output(`${kind}.abs`, sumOverTokens(b, b.abs(x)));
  }
}

function addGrams(b: GraphBuilder, { halves }: LayerValues): void {
  for (const [kind, { tap: x }] of halves) {
    b.output(`${kind}.sum`, sumOverTokens(b, x));
    const rows = b.flatten(x);
    b.output(`${kind}.gram`, b.matmul(rows, rows, { transA: true }));
  }
}

function addMoments(b: GraphBuilder, { halves }: LayerValues): void {
  for (const [kind, { tap: x, experts, stream }] of halves) {
    const weights = tokenWeights(b, stream);
    const root = b.sqrt(weights);
    const weighted = b.mul(x, root);
    const rowsOf = b.flatten(weighted);
    const channels = experts === undefined ? rowsOf : splitParts(b, rowsOf, experts);
    for (let strip = 0; strip < GRAM_STRIPS; strip++) {
      const length = (name: string): Value => b.input(name, [name], "int32");
      const columns = endOfLast(b, channels, { like: length(`${kind}.columns${strip}`), end: "first" });
      const rows = endOfLast(b, columns, { like: length(`${kind}.rows${strip}`), end: "last" });
      b.output(`${kind}.products${strip}`, b.matmul(rows, columns, { transA: true }));
    }
    b.output(`${kind}.weighted`, b.matmul(weights, x, { transA: true }));
  }
}

/** The channels of x [.., M, n] in equal parts, [.., parts, M, n / parts]. */
function splitParts(b: GraphBuilder, x: Value, parts: number): Value {
  const axes = x.shape.slice(0, -1);
  const split = b.reshape(x, [...axes, parts, sizeOfPart(x.shape.at(-1)!, parts)]);
  const rows = axes.length - 1;
  return b.transpose(split, [...axes.slice(0, -1).keys(), rows + 1, rows, rows + 2]);
}

/**
 * Values that cost a product, by name: given these and the layer's input, the backward pass repeats cheap operators.
 */
function keptValues({ input, projected, halves, middle }: LayerValues): ReadonlyMap<string, Value> {
  const attention = halves.get("kv");
  const values = new Map<string, Value>(projected);
  if (middle !== input) values.set("stream", middle);
  if (attention !== undefined) values.set("tap", attention.beforeOutputGate ?? attention.tap);
  return new Map(Array.from(values, ([name, value]) => [`kept.${name}`, value]));
}

/** Adds outputs for the values that backward programs read; `train` reads all that the others do. */
function addKept(b: GraphBuilder, layer: LayerValues, structure: LayerStructure): void {
  const inputs = new Set(LAYER_PROGRAMS.trainKept(structure).inputs.map(({ name }) => name));
  for (const [name, value] of keptValues(layer)) if (inputs.has(name)) b.output(name, value);
}

/** @param kept - values of the layer that become inputs, by name; none when absent */
function backwardGraph(
  structure: LayerStructure,
  extend: (b: GraphBuilder, layer: LayerValues, upstream: Value) => void,
  kept: (layer: LayerValues) => ReadonlyMap<string, Value> = () => new Map(),
): Graph {
  const b = new GraphBuilder();
  const layer = buildLayer(b, structure);
  extend(b, layer, b.input("upstream", layer.output.shape));
  return valuesAsInputs(b.finish(), kept(layer));
}

/**
 * Adds the gradients of the layer's output times `upstream`: that of the layer's input as the output `hidden`.
 * @returns the gradients of the targets
 */
function addGradients(
  b: GraphBuilder,
  { input, output }: LayerValues,
  { upstream, targets }: { readonly upstream: Value; readonly targets: readonly Value[] },
): readonly Value[] {
  const [hidden, ...others] = gradients(b, new Map([[output, upstream]]), [input, ...targets]);
  b.output("hidden", hidden!);
  return others;
}

function addBackward(b: GraphBuilder, layer: LayerValues, upstream: Value): void {
  const halves = [...layer.halves];
  const gateGradients = addGradients(b, layer, {
    upstream,
    targets: halves.map(([, { channels }]) => channels),
  });
  for (const [index, [kind, { channels: x, experts, toTap }]] of halves.entries()) {
    const deviation = experts === undefined ? b.sub(x, b.input(`${kind}.centre`, [x.shape[2]!])) : x;
    const gates = b.mul(gateGradients[index]!, deviation);
    b.output(`${kind}.gate`, sumOverTokens(b, toTap?.(gates) ?? gates));
  }
}

/**
 * Adds the gradients of all weights and biases of a layer, those of experts joined, but of constants, which are tensors
 * without axes.
 */
function addTrain(b: GraphBuilder, layer: LayerValues, upstream: Value): void {
  const learned = [...layer.weights.values()].filter(
    ({ name, shape }) => shape.length > 0 && name !== CORRECTION,
  );
  const weightGradients = addGradients(b, layer, { upstream, targets: learned });
  const parts = new Map<string, Value[]>();
  for (const [index, { name }] of learned.entries())
    getOrMake(parts, expertOfFeed(name)?.name ?? name, () => []).push(weightGradients[index]!);
  const inRow = `${moduleOf("down_proj")}.weight`;
  for (const [name, [first, ...others]] of parts)
    b.output(name, others.length === 0 ? first! : b.concat([first!, ...others], name === inRow ? 1 : 0, "F"));
}

/** Adds the derivatives along changes of the output projections, and the squared gate gradients of neurons. */
function addSlopes(b: GraphBuilder, layer: LayerValues, upstream: Value): void {
  const { projected, middle } = layer;
  const halves = [...layer.halves];
  const targets = halves.map(([kind]) => projected.get(OUTPUT_PROJECTION[kind])!);
  const outputGradients = addGradients(b, layer, { upstream, targets });
  const size = middle.shape[2]!;
  for (const [index, [kind, { tap, experts = 1 }]] of halves.entries()) {
    const [count, rank] = [`${kind}.V`, `${kind}.r`];
    const channels = sizeOfPart(tap.shape[2]!, experts);
    const inputs = b.input(`${kind}.changeInputs`, [count, experts, rank, channels]);
    const outputs = b.input(`${kind}.changeOutputs`, [count, experts, size, rank]);
    const centres = b.input(`${kind}.changeCentres`, [count, experts, 1, rank]);
    const x = perChange(b, splitParts(b, tap, experts));
    const deviation = b.sub(b.matmul(x, inputs, { transB: true }), centres);
    const gradient = b.matmul(perChange(b, splitParts(b, outputGradients[index]!, 1)), outputs);
    b.output(`${kind}.slopes`, b.reduceSum(b.mul(deviation, gradient), [-1]));
  }
  const ffn = layer.halves.get("ffn");
  if (ffn === undefined) return;
  const { tap } = ffn;
  const units = tap.shape[2]!;
  const weight = b.input("ffn.gateWeight", [size, units]);
  const gradient = b.matmul(outputGradients.at(-1)!, weight);
  const gates = b.mul(b.sub(tap, b.input("ffn.centre", [units])), gradient);
  b.output("ffn.gateSquares", sumOverTokens(b, b.mul(gates, gates)));
}

/** x [B, ..] as [B, 1, ..], which broadcasts over changes. */
function perChange(b: GraphBuilder, x: Value): Value {
  const [batch, ...others] = x.shape as readonly [Dim, ...Dim[]];
  return b.operator("Unsqueeze", [x, b.integers([1])], { shape: [batch, 1, ...others] });
}
