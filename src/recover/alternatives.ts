/**
 * Least squares for several widths of an output projection from the same moments: what the projection is, and how it
 * would change if a few more or fewer of its units stayed. All is said on the units of a model that has those of all
 * alternatives, and perhaps others, so that it can hold the present projection, with zeros for those that are not
 * present.
 *
 * With K the channels that are present, M = cov(x_K, x_K) + lambda I, P the projection that is fitted on K, V the dense
 * one and c = cov(what is removed, x), the exact ridge solutions for other channels differ from P by products of a few
 * columns:
 *
 *   T goes:   P_T (B x_K\T - x_T),   B = cov(x_T, x_K\T) (M without T)^-1 = - (M^-1)_TT^-1 (M^-1)_T,K\T
 *   T comes:  Q (x_T - B x_K),        B = cov(x_T, x_K) M^-1,  S = cov(x_T, x_T) + lambda I - B cov(x_K, x_T),
 *                                     Q = (c_T - c_K B^T + lambda V_T) S^-1
 *
 * x about its means throughout, lambda that of K. The first is what optimal brain surgeon (Hassibi & Stork 1992) does
 * to a group of weights, the second its reverse; both are block elimination. So a change takes as much memory as its
 * channels have rows and columns.
 */
import type { SpaceMoments } from "../calibrate/moments.ts";
import { type ChangeNames, changeNames } from "../calibrate/slopes.ts";
import { internalError } from "../errors.ts";
import { solveSpd } from "../graph/runtime/cholesky.ts";
import { compileProducts, matrixOf, type Products } from "../graph/runtime/double_products.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import { channelsOf, OUTPUT_PROJECTION, projectionName, type Space } from "../model/spaces.ts";
import { gatherBlocks, type Tensor, zeros } from "../tensor/tensor.ts";
import {
  type Covariances,
  covariancesOf,
  type DenseProjection,
  gather,
  type LinearChange,
  lambdaOf,
  ofSomeInputs,
  ROUNDING,
  regress,
} from "./regression.ts";

/**
 * By space id: lists of units that may stay, ascending, the present one first; the others have more than it or fewer,
 * and none has a unit that the plan removes.
 */
export type Alternatives = Readonly<Record<string, readonly (readonly number[])[]>>;

/** An output projection on the units of the widest alternative. */
interface WideProjection {
  readonly space: Space;
  /** Units, ascending. */
  readonly units: readonly number[];
  /** The dense model's, [C, channels of the units] and [C]. */
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/** Channels that go or come, by their places among the widest alternative's n channels. */
interface Step {
  readonly comes: boolean;
  /** T, ascending. */
  readonly channels: Int32Array;
}

/** What of the covariances is about channels that come. */
interface Parts {
  /** cov(x_T, x_T), [t, t], and what rounding may have taken from its diagonal. */
  readonly square: Float64Array;
  /** cov(x_T, x_K), [t, k]. */
  readonly between: Float64Array;
  /** c_T, [C, t]. */
  readonly cross: Float64Array;
}

/** A change of the projection's output: outputs (inputs x), products of t channels. */
interface Change {
  /** [C, t] */
  readonly outputs: Float64Array;
  /** [t, n] */
  readonly inputs: Float64Array;
}

/** What all changes of a projection share. */
interface Fit {
  readonly runtime: Runtime;
  readonly products: Products;
  /** The projection, for messages. */
  readonly name: string;
  /** K, ascending. */
  readonly present: Int32Array;
  /** Covariances of the inputs at K. */
  readonly covariances: Covariances;
  readonly lambda: number;
  /** V and P, [C, n]. */
  readonly dense: Tensor;
  readonly fitted: Tensor;
}

export interface AlternativesRequest {
  readonly space: Space;
  /** The dense model's. */
  readonly projection: DenseProjection;
  readonly alternatives: Alternatives[string];
  /** The units that the results have columns for, ascending: those of the widest alternative, and perhaps others. */
  readonly onto: readonly number[];
  readonly ridge: number;
}

/**
 * Fits the present units, and every alternative. @returns by tensor name: the present projection with its bias, and the
 * changes to all others (`changeNames`)
 * @throws GpruneError NOT_FINITE naming the projection
 */
export async function fitAlternatives(
  runtime: Runtime,
  moments: SpaceMoments,
  { space, projection: whole, alternatives, onto, ridge }: AlternativesRequest,
): Promise<ReadonlyMap<string, Tensor>> {
  const wide = wideProjection(space, whole, alternatives);
  const { weight: dense } = wide;
  const stays = new Set(onto);
  const removed = wide.units.find((unit) => !stays.has(unit));
  if (removed !== undefined) throw internalError(`${space.id}: unit ${removed} of an alternative is removed`);
  const projection = OUTPUT_PROJECTION[space.kind];
  const name = projectionName(space.layer, projection);
  const present = channelsAmong(wide, alternatives[0] ?? []);
  const steps = alternatives.slice(1).map((units) => stepFrom(present, channelsAmong(wide, units)));
  const products = await compileProducts(runtime);
  const channels = (units: readonly number[]): Int32Array => channelsOf(units, space.unitChannels);
  const every = Array.from({ length: space.units }, (_, unit) => unit);
  const all = await covariancesOf(products, moments, {
    projection: whole,
    kept: channels(wide.units),
    removed: without(channels(every), channels(alternatives[0] ?? [])),
  });
  const parts = steps.map((step) => (step.comes ? partsOf(all, step, present) : null));
  const covariances = ofSomeInputs(all, present);
  const change = await regress(runtime, covariances, { ridge, name });
  const fitted = onWideChannels(wide, present, change);
  const lambda = lambdaOf(covariances, ridge);
  const fit: Fit = { runtime, products, name, present, covariances, lambda, dense, fitted: fitted.weight };
  const solved = await solveTogether(fit, steps, parts);
  const changes: Change[] = [];
  for (const [index, step] of steps.entries()) {
    const part = parts[index] ?? null;
    changes.push(
      part === null
        ? await whenGone(fit, step, solved[index]!)
        : await whenBack(fit, step, { ...part, regression: solved[index]! }),
    );
  }
  const { inputs, outputs, centres } = stacked(wide, changes, all.inputMean);
  const names = changeNames(space);
  return new Map([
    [name, scatterColumns(fitted.weight, wide, onto)],
    [projectionName(space.layer, projection, "bias"), fitted.bias],
    [names.inputs, scatterColumns(inputs, wide, onto)],
    [names.outputs, outputs],
    [names.centres, centres],
  ]);
}

/** The dense projection on the units that any of the lists has. */
function wideProjection(
  space: Space,
  { weight, bias }: DenseProjection,
  lists: Alternatives[string],
): WideProjection {
  const units = [...new Set(lists.flat())].sort((a, b) => a - b);
  const columns = gatherBlocks(weight, 1, { keep: units, blockSize: space.unitChannels });
  return { space, units, weight: columns, bias };
}

/** A tensor [..., channels of the widest alternative] with columns for other units as well, zeros. */
function scatterColumns(
  { shape, data }: Tensor,
  { space, units }: WideProjection,
  onto: readonly number[],
): Tensor {
  const { unitChannels } = space;
  const places = placesIn(channelsOf(onto, unitChannels), channelsOf(units, unitChannels));
  const columns = onto.length * unitChannels;
  const result = zeros([...shape.slice(0, -1), columns]);
  for (let row = 0; row * places.length < data.length; row++) {
    for (const [i, place] of places.entries())
      result.data[row * columns + place] = data[row * places.length + i]!;
  }
  return result;
}

/** The places of units' channels among those of the widest alternative. */
function channelsAmong({ space, units: all }: WideProjection, units: readonly number[]): Int32Array {
  const places = new Map(all.map((unit, place) => [unit, place]));
  return channelsOf(
    units.map((unit) => places.get(unit)!),
    space.unitChannels,
  );
}

function stepFrom(present: Int32Array, other: Int32Array): Step {
  const [gone, back] = [without(present, other), without(other, present)];
  if (gone.length > 0 === back.length > 0)
    throw internalError("an alternative has neither more nor fewer units");
  return gone.length > 0 ? { comes: false, channels: gone } : { comes: true, channels: back };
}

/** The numbers of the first list that the second lacks. */
function without(list: Int32Array, others: Int32Array): Int32Array {
  const found = new Set(others);
  return list.filter((place) => !found.has(place));
}

function partsOf(
  { inputs, cross, inputMean, inputSquares, residualMean }: Covariances,
  { channels }: Step,
  present: Int32Array,
): Parts {
  const columns = inputMean.length;
  const square = gather(inputs, { columns, rows: channels, chosen: channels });
  for (const [i, channel] of channels.entries()) {
    square[i * (channels.length + 1)]! += ROUNDING * inputSquares[channel]!;
  }
  return {
    square,
    between: gather(inputs, { columns, rows: channels, chosen: present }),
    cross: gather(cross, { columns, rows: Int32Array.from(residualMean.keys()), chosen: channels }),
  };
}

/**
 * What every step needs of M^-1, [t, k], by one factorisation: (M^-1)_T where T goes, cov(x_T, x_K) M^-1 where it
 * comes.
 */
async function solveTogether(
  { runtime, covariances, lambda, name, present }: Fit,
  steps: readonly Step[],
  parts: readonly (Parts | null)[],
): Promise<readonly Float64Array[]> {
  const k = present.length;
  const starts = [0];
  for (const { channels } of steps) starts.push(starts.at(-1)! + channels.length * k);
  const rows = new Float64Array(starts.at(-1)!);
  for (const [index, { channels }] of steps.entries()) {
    const part = parts[index];
    if (part) rows.set(part.between, starts[index]!);
    else
      for (const [i, place] of placesIn(present, channels).entries())
        rows[starts[index]! + i * k + place] = 1;
  }
  const solved = (await solveSpd(runtime, { matrix: covariances.inputs, rows, ridge: lambda, name })).rows;
  return steps.map((_, index) => solved.subarray(starts[index]!, starts[index + 1]!));
}

/** @param inverse - (M^-1)_TK, [t, k] */
async function whenGone(
  { runtime, name, present, fitted }: Fit,
  { channels }: Step,
  inverse: Float64Array,
): Promise<Change> {
  const [t, columns] = [channels.length, present.length];
  const rows = Int32Array.from(channels.keys());
  const places = placesIn(present, channels);
  const rest = placesIn(present, without(present, channels));
  const square = gather(inverse, { columns, rows, chosen: places });
  const beside = transposed(gather(inverse, { columns, rows, chosen: rest }), rest.length);
  const solved = (await solveSpd(runtime, { matrix: square, rows: beside, ridge: 0, name })).rows;
  const inputs = selectionRows(channels, fitted.shape[1]!);
  for (const [s, place] of rest.entries()) {
    for (let i = 0; i < t; i++) inputs[i * fitted.shape[1]! + present[place]!] = solved[s * t + i]!;
  }
  return { outputs: columnsOf(fitted, channels).map((value) => -value), inputs };
}

/** @param parts - with `regression`, cov(x_T, x_K) M^-1, [t, k] */
async function whenBack(
  { runtime, products, name, present, covariances, lambda, dense }: Fit,
  { channels }: Step,
  { square, between, cross, regression }: Parts & { readonly regression: Float64Array },
): Promise<Change> {
  const [t, k] = [channels.length, present.length];
  const { multiplyTransposed } = products;
  const explained = await multiplyTransposed(matrixOf(regression, k), matrixOf(between, k));
  const matrix = square.map((value, i) => value - explained[i]! + (i % (t + 1) === 0 ? lambda : 0));
  const known = await multiplyTransposed(matrixOf(covariances.cross, k), matrixOf(regression, k));
  const columns = columnsOf(dense, channels);
  const rows = cross.map((value, i) => value - known[i]! + lambda * columns[i]!);
  const outputs = (await solveSpd(runtime, { matrix, rows, ridge: 0, name })).rows;
  const inputs = selectionRows(channels, dense.shape[1]!);
  for (const [j, place] of present.entries()) {
    for (let i = 0; i < t; i++) inputs[i * dense.shape[1]! + place] = -regression[i * k + j]!;
  }
  return { outputs, inputs };
}

/** [t, n]: rows that take a channel each. */
function selectionRows(channels: Int32Array, columns: number): Float64Array {
  const result = new Float64Array(channels.length * columns);
  for (const [i, channel] of channels.entries()) result[i * columns + channel] = 1;
  return result;
}

/** [C, t] */
function columnsOf({ shape, data }: Tensor, chosen: Int32Array): Float64Array {
  const [size = 0, columns = 0] = shape;
  return gather(data, { columns, rows: Int32Array.from({ length: size }, (_, row) => row), chosen });
}

function transposed(matrix: Float64Array, columns: number): Float64Array {
  const rows = matrix.length / columns;
  const result = new Float64Array(matrix.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result[j * rows + i] = matrix[i * columns + j]!;
  }
  return result;
}

/** Where some channels stand in a list that has them all, both ascending. */
function placesIn(list: Int32Array, some: Int32Array): Int32Array {
  const places = new Map(Array.from(list, (channel, place) => [channel, place]));
  return some.map((channel) => places.get(channel)!);
}

/** The present columns with their change, zeros beside them, and the bias. */
function onWideChannels(
  { weight, bias }: WideProjection,
  present: Int32Array,
  change: LinearChange,
): { readonly weight: Tensor; readonly bias: Tensor } {
  const { shape, data } = weight;
  const [, channels = 0] = shape;
  const result = new Float32Array(data.length);
  for (const row of bias.data.keys()) {
    for (const [i, channel] of present.entries()) {
      const place = row * channels + channel;
      result[place] = data[place]! + change.weight[row * present.length + i]!;
    }
  }
  const biases = bias.data.map((value, row) => value + change.bias[row]!);
  return { weight: { shape, data: result }, bias: { shape: bias.shape, data: biases } };
}

/** Changes of as many channels as the largest has. @param means - of x, [n] */
function stacked(
  { weight }: WideProjection,
  changes: readonly Change[],
  means: Float64Array,
): Readonly<Record<keyof ChangeNames, Tensor>> {
  const [size = 0, n = 0] = weight.shape;
  const t = Math.max(...changes.map(({ inputs }) => inputs.length / n));
  const inputs = zeros([changes.length, t, n]);
  const outputs = zeros([changes.length, size, t]);
  const centres = zeros([changes.length, 1, t]);
  for (const [v, change] of changes.entries()) {
    const rank = change.inputs.length / n;
    inputs.data.set(change.inputs, v * t * n);
    for (let row = 0; row < size; row++) {
      outputs.data.set(change.outputs.subarray(row * rank, (row + 1) * rank), (v * size + row) * t);
    }
    for (let i = 0; i < rank; i++) {
      centres.data[v * t + i] = means.reduce((sum, mean, j) => sum + mean * change.inputs[i * n + j]!, 0);
    }
  }
  return { inputs, outputs, centres };
}
