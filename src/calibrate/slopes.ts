/**
 * Slopes: the derivatives of the loss along changes of output projections,
 *
 *   d loss(output + tau A (B x - c)) / d tau at tau = 0  =  sum over tokens t of s_t,   s_t = (A^T g_t) . (B x_t - c)
 *
 * x the projection's input, g the gradient of the window's mean next-token cross entropy at its output; a change A [C,
 * r], B [r, channels], c [r] adds A B to the weight and -A c to the bias. One forward and backward pass measures all
 * changes of all layers, where the losses of changed models take a pass each. A change of an FFN of experts has one of
 * each expert, which has a projection of its own, and s_t is their sum.
 *
 * The same pass measures the importance of every neuron, whether it is kept or removed, by a gate on it:
 *
 *   sum over tokens t of ((w . g_t) (x_t - c))^2,   w its column of the dense projection, c its mean
 *
 * squared token by token, since sums over a window are few. For that the model has all neurons of the dense one, with
 * zeros in the projection for removed ones.
 */

import { type Reporting, silent } from "../base/progress.ts";
import { NO_CHECKPOINTS } from "../base/stages.ts";
import type { Keeping } from "../graph/decoder/backward.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { TokenBatch } from "../graph/decoder/forward.ts";
import { modelForLots, runnerForLots } from "../graph/decoder/kept_activations.ts";
import type { Feeds } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { channelCount, OUTPUT_PROJECTION, type Space, spacesOf } from "../model/spaces.ts";
import { projectionName } from "../model/weight_names.ts";
import { type Tensor, zeros } from "../tensor/tensor.ts";
import type { TokenSet } from "./calibrate.ts";
import { centreOf } from "./gate_gradients.ts";
import { dampingFactor, mapLazily, windowValues } from "./window_gradients.ts";
import { sumsBySet, type WindowSums } from "./window_lots.ts";

/** Slopes of the changes of one output projection, [V] each, summed over windows. */
export interface ChangeSlopes {
  /** Derivatives of the window's mean loss. */
  readonly sums: Float64Array;
  /**
   * Means over the window's T - 1 predictions of ((T - 1) s_t)^2: the factor T - 1 turns a share of the mean loss into
   * the loss of one token.
   */
  readonly squares: Float64Array;
}

/** Slopes of one set. */
export interface SlopeStats extends WindowSums {
  /** By space id, for spaces whose output projection has changes. */
  readonly spaces: ReadonlyMap<string, ChangeSlopes>;
  /**
   * Squared derivatives of the loss with respect to neurons' gates, [units] by space id; those of a window are divided
   * by the root of their sum over the model.
   */
  readonly neurons: ReadonlyMap<string, Float64Array>;
}

/** Options of {@link slopeStatistics}. */
export interface SlopeOptions extends Partial<Reporting> {
  /** Values that replace removed neurons, [units] by space id; zero where absent. */
  readonly centres?: ReadonlyMap<string, Float32Array>;
}

/** A model that has changes among its tensors (`changeNames`), and the dense model that it was made from. */
export interface ChangedModel {
  readonly runner: DecoderRunner;
  readonly dense: Model;
}

/** Names of the tensors of a model that hold a space's V changes, each of its E parts. */
export interface ChangeNames {
  /** B, [V, E, r, channels of a part]. */
  readonly inputs: string;
  /** A, [V, E, C, r]. */
  readonly outputs: string;
  /** c, [V, E, 1, r]. */
  readonly centres: string;
}

/** The names of a space's tensors. */
export function changeNames({ id }: Space): ChangeNames {
  return { inputs: `${id}.change_inputs`, outputs: `${id}.change_outputs`, centres: `${id}.change_centres` };
}

/** Slopes of every set, by name. */
export async function slopeStatistics(
  changed: ChangedModel,
  sets: readonly TokenSet[],
  { centres = new Map(), stage = "slopes", onProgress = silent }: SlopeOptions = {},
): Promise<ReadonlyMap<string, SlopeStats>> {
  const runner = runnerForLots(changed.runner);
  const dense = modelForLots(changed.dense, runner.runtime);
  return sumsBySet(runner, sets, {
    empty: () => emptySlopes(runner),
    compute: (batches, options) => windowSlopes({ runner, dense }, batches, { centres, ...options }),
    add: accumulateSlopes,
    stage,
    onProgress,
    checkpoints: NO_CHECKPOINTS,
  });
}

/**
 * Slopes of every single window, in order, computed lazily. Holds the layer inputs of all windows, then their values.
 */
export async function windowSlopes(
  { runner, dense }: ChangedModel,
  batches: readonly TokenBatch[],
  { centres = new Map(), stage = "slopes", onProgress = silent, ...keeping }: SlopeOptions & Keeping = {},
): Promise<Iterable<SlopeStats>> {
  const values = await windowValues(runner, batches, {
    program: "slopes",
    ...keeping,
    stage,
    onProgress,
    feeds: async ({ index }) => ({
      ...(await changesOf(runner, index)),
      ...(await gatesOf({ runner, dense }, index, centres)),
    }),
    wanted: (space) => hasChanges(runner, space),
    take: ({ kind, units }, outputs, window): SpaceValues => {
      const slopes = slopesOfWindow(outputs[`${kind}.slopes`]!, window);
      if (kind !== "ffn") return { slopes };
      const squares = outputs["ffn.gateSquares"]!.data.slice(window * units, (window + 1) * units);
      return { slopes, squares };
    },
  });
  return mapLazily(values, ({ loss, spaces }) => {
    const slopes = Array.from(spaces, ([id, values]) => [id, values.slopes] as const);
    return { windows: 1, loss, spaces: new Map(slopes), neurons: dampedSquares(spaces) };
  });
}

/** Slopes and squared gate gradients of a space in one window. */
interface SpaceValues {
  readonly slopes: ChangeSlopes;
  readonly squares?: Float32Array;
}

/** The squared gate gradients of a window, divided by the root of their sum over the model. */
function dampedSquares(spaces: ReadonlyMap<string, SpaceValues>): ReadonlyMap<string, Float64Array> {
  const squares = Array.from(spaces).flatMap(([id, values]) =>
    values.squares ? [[id, values.squares] as const] : [],
  );
  const factor = dampingFactor(squares.map(([, values]) => values));
  return new Map(squares.map(([id, values]) => [id, Float64Array.from(values, (square) => factor * square)]));
}

/** Sums of no windows. */
export function emptySlopes(runner: Pick<DecoderRunner, "model">): SlopeStats {
  const changed = spacesOf(runner.model.spec).filter((space) => hasChanges(runner, space));
  const spaces = changed.map((space): readonly [string, ChangeSlopes] => {
    const [count = 0] = runner.model.weights.info(changeNames(space).centres)!.shape;
    return [space.id, { sums: new Float64Array(count), squares: new Float64Array(count) }];
  });
  const neurons = changed
    .filter(({ kind }) => kind === "ffn")
    .map(({ id, units }) => [id, new Float64Array(units)] as const);
  return { windows: 0, loss: 0, spaces: new Map(spaces), neurons: new Map(neurons) };
}

/** Adds a window to the arrays of the sums, in place. @returns the sums with the new counts */
export function accumulateSlopes(sums: SlopeStats, window: SlopeStats): SlopeStats {
  for (const [id, total] of sums.spaces) {
    const added = window.spaces.get(id)!;
    for (let v = 0; v < total.sums.length; v++) {
      total.sums[v]! += added.sums[v]!;
      total.squares[v]! += added.squares[v]!;
    }
  }
  for (const [id, total] of sums.neurons) {
    const added = window.neurons.get(id)!;
    for (let unit = 0; unit < total.length; unit++) total[unit]! += added[unit]!;
  }
  return { ...sums, windows: sums.windows + window.windows, loss: sums.loss + window.loss };
}

function hasChanges({ model }: Pick<DecoderRunner, "model">, space: Space): boolean {
  return model.weights.info(changeNames(space).inputs) !== undefined;
}

/** The changes of a layer as inputs of the program `slopes`: one change by zero where a space has none. */
async function changesOf({ model }: DecoderRunner, layer: number): Promise<Feeds> {
  const { spec, weights } = model;
  const feeds: Record<string, Tensor> = {};
  for (const space of spacesOf(spec)) {
    if (space.layer !== layer) continue;
    const { kind, parts } = space;
    const names = changeNames(space);
    const read = async (name: string, shape: readonly number[]): Promise<Tensor> =>
      hasChanges({ model }, space) ? weights.read(name) : zeros(shape);
    feeds[`${kind}.changeInputs`] = await read(names.inputs, [1, parts, 1, channelCount(space) / parts]);
    feeds[`${kind}.changeOutputs`] = await read(names.outputs, [1, parts, spec.hiddenSize, 1]);
    feeds[`${kind}.changeCentres`] = await read(names.centres, [1, parts, 1, 1]);
  }
  return feeds;
}

/**
 * The inputs of the program `slopes` for the gates of a layer's neurons. Where there are changes, the model has all
 * neurons of the dense one; else perhaps fewer, whose gates are not asked for.
 */
async function gatesOf(
  { runner, dense }: ChangedModel,
  layer: number,
  centres: ReadonlyMap<string, Float32Array>,
): Promise<Feeds> {
  const space = spacesOf(runner.model.spec).find((each) => each.layer === layer && each.kind === "ffn");
  if (space === undefined) return {};
  const { weights } = hasChanges(runner, space) ? dense : runner.model;
  return {
    "ffn.gateWeight": await weights.read(projectionName(layer, OUTPUT_PROJECTION.ffn)),
    "ffn.centre": centreOf(space, centres),
  };
}

/**
 * The slopes of one window of a micro-batch.
 * @param slopes - [B, V, E, T, 1]; that of the last token, which predicts nothing, is 0 in all but rounding
 */
function slopesOfWindow({ shape, data }: Tensor, window: number): ChangeSlopes {
  const [, count = 0, parts = 0, tokens = 0] = shape;
  const sums = new Float64Array(count);
  const squares = new Float64Array(count);
  for (let v = 0; v < count; v++) {
    const start = (window * count + v) * parts * tokens;
    for (let t = start; t < start + tokens; t++) {
      let slope = 0;
      for (let part = 0; part < parts; part++) slope += data[t + part * tokens]!;
      sums[v]! += slope;
      squares[v]! += slope ** 2;
    }
    squares[v]! *= tokens - 1;
  }
  return { sums, squares };
}
