/**
 * Marginals without gradients: how much a block's output error grows as units are removed in their module's order.
 *
 *   E_k = E |W[:, R_k] (x[R_k] - E x[R_k])|^2 * E 1 / |h|^2,   R_k the first k units of the module
 *
 * W is down_proj or o_proj, x its input, h the residual stream after the layer; E is the mean over the tokens of all
 * sets, each set counting by its weight. The error is relative to the stream, since every layer normalises the stream
 * before it reads it. The marginal of the unit at position k is E_k+1 - E_k. Where a norm with weight v lies between W
 * and the stream, the scale of W is irrelevant, and every E_k is multiplied by the norm's squared gain on small errors:
 *
 *   mean over C of (offset + v)^2 / (E |W x + b|^2 / C + eps)
 *
 * Where the family scales outputs before they join the stream, every E_k is multiplied by the square of that factor.
 *
 * One forward pass through the dense model gives all curves. They ignore how later layers react to the errors.
 */

import { getOrMake } from "../base/map_values.ts";
import type { OnProgress } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import { calibrationSetText, type TokenSet } from "../calibrate/calibrate.ts";
import { addScaled } from "../calibrate/moments.ts";
import { DecoderRunner, type LoadedLayer, type Outputs } from "../graph/decoder/decoder_runner.ts";
import {
  batchTokens,
  beginForward,
  type ForwardState,
  forwardState,
  forwardStream,
  microBatches,
} from "../graph/decoder/forward.ts";
import type { Graph } from "../graph/ir/graph.ts";
import { GraphBuilder } from "../graph/ir/graph_builder.ts";
import { stashFor } from "../graph/runtime/memory_policy.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import { EXPERT_NORMS } from "../model/expert_weights.ts";
import type { Model } from "../model/model.ts";
import { outputScale } from "../model/multipliers.ts";
import { channelCount, OUTPUT_PROJECTION, type Space } from "../model/spaces.ts";
import { hasOneBias, normsOf } from "../model/spec.ts";
import { moduleOf, projectionName } from "../model/weight_names.ts";
import { BLOCK_NORMS, kindsOf, type SpaceKind } from "../model/weights.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { SpaceAnalysis } from "./analysis.ts";
import type { Marginals } from "./marginals.ts";
import { sharesOf } from "./set_weights.ts";

export interface ErrorCurvesRequest {
  readonly model: Model;
  readonly runtime: Runtime;
  readonly sets: readonly TokenSet[];
  /** Weight of every set by name. */
  readonly weights: ReadonlyMap<string, number>;
  readonly analyses: readonly SpaceAnalysis[];
  readonly onProgress: OnProgress;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<ErrorCurvesState>;
}

/** State of the pass between two layers. */
export interface ErrorCurvesState extends ForwardState {
  readonly curves: Marginals;
}

/** Marginals by space id, [units]: increases of the relative output error. Holds the Gram matrices of one layer. */
export async function errorCurves(request: ErrorCurvesRequest): Promise<Marginals> {
  const { model, runtime, sets, weights, analyses, onProgress, checkpoints = NO_CHECKPOINTS } = request;
  const runner = new DecoderRunner(model, runtime);
  const shares = sharesOf(
    weights,
    sets.map(({ name }) => name),
  );
  const groups = sets.map((set) => microBatches(set.windows, calibrationSetText(set)));
  const tokenWeights = groups.flatMap((batches, d) => {
    const tokens = batchTokens(batches);
    return batches.map(() => shares.get(sets[d]!.name)! / tokens);
  });
  const batches = groups.flat();
  const restored = await checkpoints.restore();
  const curves = new Map(restored?.curves);
  let moments = new LayerMoments();
  const stream = { batches, states: await stashFor(runner.memory, "curves") };
  await forwardStream(runner, stream, {
    program: "gram",
    stage: "curves",
    onProgress,
    from: await beginForward(runner, stream, restored),
    onLayer: (next) => checkpoints.reached(() => ({ ...forwardState(next, stream), curves })),
    onOutputs: async (layer, batch, outputs) => {
      moments.add(kindsOf(layer.spec), outputs, tokenWeights[batch]!);
      if (batch < batches.length - 1) return;
      for (const analysis of analyses.filter(({ space }) => space.layer === layer.index)) {
        const output = await outputOf(model, { layer, space: analysis.space, moments });
        const interactions = await interactionsOf(runtime, output);
        const relative = moments.inverseSquare * outputScale(model.spec, analysis.space.kind) ** 2;
        const scale = relative * normGain(output, interactions);
        curves.set(analysis.space.id, increases(analysis, interactions, scale));
      }
      moments = new LayerMoments();
    },
  });
  await stream.states.close();
  return curves;
}

/** Weighted means over tokens, for one layer: channels' Gram matrices and sums, and 1 / |h|^2. */
class LayerMoments {
  readonly #sums = new Map<string, Float64Array>();
  /** E 1 / |h|^2, to which a token with h = 0 adds nothing. */
  inverseSquare = 0;

  add(kinds: readonly SpaceKind[], outputs: Outputs, tokenWeight: number): void {
    for (const kind of kinds) {
      const { data: gram } = outputs[`${kind}.gram`]!;
      const { shape, data: sums } = outputs[`${kind}.sum`]!;
      addScaled(this.#sumOf(`${kind}.gram`, gram.length), gram, tokenWeight);
      addScaled(this.#sumOf(`${kind}.sum`, shape.at(-1)!), sums, tokenWeight);
    }
    const { shape, data } = outputs.hidden!;
    const size = shape.at(-1)!;
    for (let start = 0; start < data.length; start += size) {
      let square = 0;
      for (let i = start; i < start + size; i++) square += data[i]! ** 2;
      if (square > 0) this.inverseSquare += tokenWeight / square;
    }
  }

  /** Mean of the channels of a space, [channels]. */
  mean(kind: Space["kind"]): Float64Array {
    return this.#sums.get(`${kind}.sum`)!;
  }

  /** Covariance of the channels of a space, [channels, channels]. */
  covariance(kind: Space["kind"]): Tensor {
    const gram = this.#sums.get(`${kind}.gram`)!;
    const mean = this.mean(kind);
    const n = mean.length;
    const data = Float32Array.from(gram, (value, i) => value - mean[Math.floor(i / n)]! * mean[i % n]!);
    return { shape: [n, n], data };
  }

  #sumOf(name: string, length: number): Float64Array {
    return getOrMake(this.#sums, name, () => new Float64Array(length));
  }
}

/** The output projection of a space, moments of its inputs, and the norm that follows it. */
interface Output {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
  /** [channels] */
  readonly mean: Float64Array;
  /** [channels, channels] */
  readonly covariance: Tensor;
  /** Null where the output joins the stream without a norm. */
  readonly norm: { readonly weight: Tensor; readonly offset: number; readonly eps: number } | null;
  /**
   * Factor by which another norm multiplies the square of a small error, where that follows, of a sum of normed
   * outputs; 1 elsewhere.
   */
  readonly outerGain: number;
}

async function outputOf(
  { spec, weights }: Model,
  {
    layer,
    space: { kind },
    moments,
  }: { readonly layer: LoadedLayer; readonly space: Space; readonly moments: LayerMoments },
): Promise<Output> {
  const { normOffset: offset, normEps: eps } = spec;
  const projection = OUTPUT_PROJECTION[kind];
  const ownNorms = kind === "ffn" && layer.spec.experts?.ownNorms === true;
  const outer = BLOCK_NORMS[normsOf(spec, layer.spec)][kind].output;
  const norm = ownNorms ? EXPERT_NORMS.output : outer;
  const tensors = layer.weights as Readonly<Record<string, Tensor>>;
  const squareOf = (name: string): number => meanSquare(tensors[`${name}.weight`], offset);
  const summed = squareOf(EXPERT_NORMS.output) + squareOf(EXPERT_NORMS.beside);
  return {
    weight: await weights.read(projectionName(layer.index, projection)),
    bias: hasOneBias(layer.spec, projection) ? tensors[`${moduleOf(projection)}.bias`] : undefined,
    mean: moments.mean(kind),
    covariance: moments.covariance(kind),
    norm: norm === null ? null : { weight: tensors[`${norm}.weight`]!, offset, eps },
    // What experts and the FFN of every token give is taken for unrelated.
    outerGain: ownNorms && outer !== null ? squareOf(outer) / (summed + eps) : 1,
  };
}

/** Mean square of what a norm gives: that of its weights, with the offset. 0 without one. */
function meanSquare(weight: Tensor | undefined, offset: number): number {
  if (weight === undefined) return 0;
  return weight.data.reduce((sum, value) => sum + (offset + value) ** 2, 0) / weight.data.length;
}

/** cov(x_i, x_j) * <W_i, W_j> for all channels i, j, W_i a column of the output projection: [channels, channels]. */
async function interactionsOf(runtime: Runtime, { weight, covariance }: Output): Promise<Float32Array> {
  const program = await runtime.program("interactions", interactionsGraph);
  const { interactions } = await program.run({ weight, covariance });
  return interactions!.data;
}

/** Factor by which the norms after an output multiply the square of a small error; 1 without a norm. */
function normGain({ weight, bias, mean, norm, outerGain }: Output, interactions: Float32Array): number {
  if (norm === null) return 1;
  const [size = 0, channels = 0] = weight.shape;
  // E |W x + b|^2 is the total variance, to which the interactions add up, plus the squares of the means.
  let square = interactions.reduce((sum, value) => sum + value, 0);
  for (let c = 0; c < size; c++) {
    let output = bias?.data[c] ?? 0;
    for (let j = 0; j < channels; j++) output += weight.data[c * channels + j]! * mean[j]!;
    square += output ** 2;
  }
  return (outerGain * meanSquare(norm.weight, norm.offset)) / (square / size + norm.eps);
}

function interactionsGraph(): Graph {
  const b = new GraphBuilder();
  const weight = b.input("weight", ["C", "n"]);
  const products = b.matmul(weight, weight, { transA: true });
  b.output("interactions", b.mul(products, b.input("covariance", ["n", "n"])));
  return b.finish();
}

/** E_k+1 - E_k for the unit at every position of its module's order, times `scale`; [units]. */
function increases(
  { space, orders }: SpaceAnalysis,
  interactions: Float32Array,
  scale: number,
): Float64Array {
  const { units } = space;
  const ofUnits = unitInteractions(interactions, space);
  const result = new Float64Array(units);
  for (const order of orders) {
    const removed: number[] = [];
    for (const unit of order.units) {
      let increase = ofUnits[unit * units + unit]!;
      for (const other of removed) increase += 2 * ofUnits[unit * units + other]!;
      result[unit] = increase * scale;
      removed.push(unit);
    }
  }
  return result;
}

/** Interactions summed over the channels of every two units, [units, units]. */
function unitInteractions(interactions: Float32Array, space: Space): Float32Array | Float64Array {
  const { units, unitChannels } = space;
  if (unitChannels === 1) return interactions;
  const channels = channelCount(space);
  const result = new Float64Array(units * units);
  for (let i = 0; i < channels; i++) {
    const row = Math.floor(i / unitChannels) * units;
    for (let j = 0; j < channels; j++) {
      result[row + Math.floor(j / unitChannels)]! += interactions[i * channels + j]!;
    }
  }
  return result;
}
