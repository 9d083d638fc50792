/**
 * The graphs that are run on layers, one entry each: what a decoder layer computes for calibration, evaluation,
 * gradients and generation. Every program takes the inputs of `buildLayer` and gives `hidden` or its gradient. Those of
 * the head are in head_programs.ts.
 */
import { OUTPUT_PROJECTION, SPACE_KINDS } from "../../model/spaces.ts";
import { gradients } from "../ir/differentiate.ts";
import { type Graph, GraphBuilder, type Value } from "../ir/graph.ts";
import { endOfLast } from "../ir/operators.ts";
import { graphGiven } from "../ir/rewrite.ts";
import type { Dim } from "../ir/shapes.ts";
import { type AttentionSpan, BLOCK_QUERIES } from "./attention.ts";
import { buildLayer, type LayerGraphOptions, type LayerStructure, type LayerValues } from "./decoder.ts";

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
/** Programs of the way back. */
export type BackwardProgram = "backward" | "train" | "slopes";

/** Programs whose positions are not those of whole sequences. */
const ANY_POSITIONS: ReadonlySet<LayerProgram> = new Set(["forest", "cached"]);

/**
 * The structure of the graph that a program has for sequences of one length: through long ones attention goes in
 * blocks.
 */
export function structureFor(
  program: LayerProgram,
  structure: LayerStructure,
  { tokens, window }: AttentionSpan,
): LayerStructure {
  if (ANY_POSITIONS.has(program) || tokens <= BLOCK_QUERIES) return structure;
  return { ...structure, span: { tokens, window: window !== null && window < tokens ? window : null } };
}

/**
 * - `forward`: hidden
 * - `forest`: the same of token forests, with angles and a mask for each
 * - `cached`: hidden, and `keys` and `values` of its own tokens [B, K, T, H], with `past_keys` and `past_values` [B, K,
 *   P, H] as inputs, of which the first `offset` places are taken
 * - `statistics`: hidden, and per space kind and sequence `KIND.sum`, `.squares` and `.abs`, [B, 1, channels]
 * - `gram`: what `statistics` gives and `KIND.gram` [channels, channels], the sum over tokens of x x^T
 * - `moments`: hidden and what a weighted regression on the channels of a kind needs: the lower triangle of the sum over
 *   tokens of w x x^T in `GRAM_STRIPS` strips of rows, `KIND.products0` [r, c] and so on, each as wide as its last row
 *   wants, and `KIND.weighted` [B, 1, channels], sums of w x; w is the inverse root mean square of the stream after this
 *   half of the layer, with mean 1. A strip's sizes are the lengths of the int32 inputs `KIND.rows0` [r] and
 *   `KIND.columns0` [c], whose values do not matter
 * - `statisticsAndMoments`: what both give
 * - `keeping`: hidden, and what the programs below would have to compute again of it, in as many matrices as they need
 *   (`keptValues`)
 * - `backward`: with `upstream` [B, T, C], `kv.centre` and `ffn.centre` [channels] as inputs: gradient of the layer
 *   input as `hidden`, and `KIND.gate` [B, 1, channels] = d loss / d g at g = 1 where the output projection's input
 *   is centre + (x - centre) * g
 * - `train`: with `upstream` [B, T, C] as input: gradient of the layer input as `hidden`, and of every weight and bias
 *   under its own name
 * - `slopes`: with `upstream` [B, T, C], and for each kind V changes of the output projection's output, A (B x - c), as
 *   inputs `KIND.changeOutputs` A [V, C, r], `KIND.changeInputs` B [V, r, channels] and `KIND.changeCentres` c [V, 1,
 *   r]: gradient of the layer input as `hidden`, and `KIND.slopes` [B, V, T, 1], the loss's derivative along each
 *   change, by tokens; and with `ffn.gateWeight` [C, units] and `ffn.centre` [units] `ffn.gateSquares` [B, 1, units],
 *   the sum over tokens of the squared derivatives by gates, as in `backward`, of a projection that has that weight
 * - `backwardKept`, `trainKept`, `slopesKept`: the same, with what `keeping` kept as inputs
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

/** Adds what `cached` computes to a graph, of any layer or of one. */
export function buildCached(
  b: GraphBuilder,
  structure: LayerStructure,
  inputs: Pick<LayerGraphOptions, "sizes" | "weights"> = {},
): LayerValues {
  const layer = buildLayer(b, structure, { ...inputs, cached: true });
  b.output("hidden", layer.output);
  b.output("keys", layer.keys);
  b.output("values", layer.values);
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

/** Strips of rows in which `moments` computes symmetric products: with n strips (n + 1) / 2n of them are computed. */
export const GRAM_STRIPS: number = 4;

/**
 * How much each token counts, [B, T, 1]: the inverse root mean square of its hidden state, scaled to mean 1 over the
 * micro-batch. Every layer normalises the stream before it reads it, so a large token matters no more than a small one,
 * and the few with massive activations (arXiv 2402.17762) would otherwise decide alone. A token whose hidden state is
 * zero, as that of an unused word may be, does not count.
 */
function tokenImportance(b: GraphBuilder, hidden: Value): Value {
  const smallest = b.scalar(SMALLEST_SQUARE);
  const square = b.reduceMean(b.mul(hidden, hidden), [-1]);
  const inverse = b.div(b.greater(square, smallest), b.sqrt(b.add(square, smallest)));
  return b.div(inverse, b.add(b.reduceMean(inverse, [0, 1]), smallest));
}

function addStatistics(b: GraphBuilder, { taps }: LayerValues): void {
  for (const kind of SPACE_KINDS) {
    const x = taps[kind];
    b.output(`${kind}.sum`, sumOverTokens(b, x));
    b.output(`${kind}.squares`, sumOverTokens(b, b.mul(x, x)));
    b.output(`${kind}.abs`, sumOverTokens(b, b.abs(x)));
  }
}

function addGrams(b: GraphBuilder, layer: LayerValues): void {
  addStatistics(b, layer);
  for (const kind of SPACE_KINDS) {
    const rows = b.flatten(layer.taps[kind]);
    b.output(`${kind}.gram`, b.matmul(rows, rows, { transA: true }));
  }
}

function addMoments(b: GraphBuilder, layer: LayerValues): void {
  for (const kind of SPACE_KINDS) {
    const x = layer.taps[kind];
    const importance = tokenImportance(b, layer.streams[kind]);
    const root = b.sqrt(importance);
    const weighted = b.mul(x, root);
    for (let strip = 0; strip < GRAM_STRIPS; strip++) {
      const length = (name: string): Value => b.input(name, [name], "int32");
      const columns = endOfLast(b, weighted, { like: length(`${kind}.columns${strip}`), end: "first" });
      const rows = endOfLast(b, columns, { like: length(`${kind}.rows${strip}`), end: "last" });
      b.output(`${kind}.products${strip}`, b.matmul(b.flatten(rows), b.flatten(columns), { transA: true }));
    }
    b.output(`${kind}.weighted`, b.matmul(importance, x, { transA: true }));
  }
}

/** What costs a product, by name: with it and the layer's input, the way back has only cheap operators to repeat. */
function keptValues({ projected, taps, streams }: LayerValues): ReadonlyMap<string, Value> {
  const values = { ...projected, tap: taps.kv, stream: streams.kv };
  return new Map(Object.entries(values).map(([name, value]) => [`kept.${name}`, value]));
}

/** Adds outputs for the values that the way back looks at; training looks at most. */
function addKept(b: GraphBuilder, layer: LayerValues, structure: LayerStructure): void {
  const wanted = new Set(LAYER_PROGRAMS.trainKept(structure).inputs.map(({ name }) => name));
  for (const [name, value] of keptValues(layer)) if (wanted.has(name)) b.output(name, value);
}

/** @param kept - what of the layer the graph is given; nothing when absent */
function backwardGraph(
  structure: LayerStructure,
  extend: (b: GraphBuilder, layer: LayerValues, upstream: Value) => void,
  kept: (layer: LayerValues) => ReadonlyMap<string, Value> = () => new Map(),
): Graph {
  const b = new GraphBuilder();
  const layer = buildLayer(b, structure);
  extend(b, layer, b.input("upstream", layer.output.shape));
  return graphGiven(b.finish(), kept(layer));
}

/**
 * Adds the gradients of the layer's output times `upstream`: that of the layer's input as `hidden`, the others it
 * returns.
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
  const inputs = SPACE_KINDS.map((kind) => layer.taps[kind]);
  const pulls = addGradients(b, layer, { upstream, targets: inputs });
  for (const [index, kind] of SPACE_KINDS.entries()) {
    const x = inputs[index]!;
    const deviation = b.sub(x, b.input(`${kind}.centre`, [x.shape[2]!]));
    b.output(`${kind}.gate`, sumOverTokens(b, b.mul(pulls[index]!, deviation)));
  }
}

/** The gradients of everything that can be learned in a layer. */
function addTrain(b: GraphBuilder, layer: LayerValues, upstream: Value): void {
  const names = [...layer.weights.keys()];
  const pulls = addGradients(b, layer, { upstream, targets: [...layer.weights.values()] });
  for (const [index, name] of names.entries()) b.output(name, pulls[index]!);
}

/** The derivatives along changes of the output projections. */
function addSlopes(b: GraphBuilder, layer: LayerValues, upstream: Value): void {
  const { taps, projected, input } = layer;
  const targets = SPACE_KINDS.map((kind) => projected[OUTPUT_PROJECTION[kind]]);
  const pulls = addGradients(b, layer, { upstream, targets });
  const size = input.shape[2]!;
  for (const [index, kind] of SPACE_KINDS.entries()) {
    const [count, rank] = [`${kind}.V`, `${kind}.r`];
    const inputs = b.input(`${kind}.changeInputs`, [count, rank, taps[kind].shape[2]!]);
    const outputs = b.input(`${kind}.changeOutputs`, [count, size, rank]);
    const centres = b.input(`${kind}.changeCentres`, [count, 1, rank]);
    const deviation = b.sub(b.matmul(perChange(b, taps[kind]), inputs, { transB: true }), centres);
    const pull = b.matmul(perChange(b, pulls[index]!), outputs);
    b.output(`${kind}.slopes`, b.reduceSum(b.mul(deviation, pull), [-1]));
  }
  const units = taps.ffn.shape[2]!;
  const weight = b.input("ffn.gateWeight", [size, units]);
  const pull = b.matmul(pulls[SPACE_KINDS.indexOf("ffn")]!, weight);
  const gates = b.mul(b.sub(taps.ffn, b.input("ffn.centre", [units])), pull);
  b.output("ffn.gateSquares", sumOverTokens(b, b.mul(gates, gates)));
}

/** [B, T, N] as [B, 1, T, N], the same for all changes. */
function perChange(b: GraphBuilder, x: Value): Value {
  const axes = b.integers([1]);
  const [batch, tokens, size] = x.shape as readonly [Dim, Dim, Dim];
  return b.operator("Unsqueeze", [x, axes], { shape: [batch, 1, tokens, size] });
}
