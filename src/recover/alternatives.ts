/**
 * Least squares for several widths of an output projection from the same moments: the present projection, and its
 * change if a few more or fewer units were kept. Results have columns for the units of all alternatives, and perhaps
 * others; the present projection has zeros for units that are not present.
 *
 * With K the present channels, M = cov(x_K, x_K) + lambda I, P the projection fitted on K, D the dense one and c =
 * cov(r, x), r the output of the channels outside K, the exact ridge solutions for other channels differ from P by
 * products of a few columns:
 *
 *   T removed:  P_T (B x_K\T - x_T),   B = cov(x_T, x_K\T) (M without T)^-1 = - (M^-1)_TT^-1 (M^-1)_T,K\T
 *   T added:    Q (x_T - B x_K),       B = cov(x_T, x_K) M^-1,  S = cov(x_T, x_T) + lambda I - B cov(x_K, x_T),
 *                                      Q = (c_T - c_K B^T + lambda D_T) S^-1
 *
 * x about its means throughout, lambda that of K. The first is optimal brain surgeon (Hassibi & Stork 1992) on a group
 * of weights, the second its reverse; both are block elimination. A change is stored as two factors of rank |T|.
 */
import type { SpaceMoments } from "../calibrate/moments.ts";
import { type ChangeNames, changeNames } from "../calibrate/slopes.ts";
import { internalError } from "../errors.ts";
import { solveSpd } from "../graph/runtime/cholesky.ts";
import { compileProducts, matrixOf, type Products } from "../graph/runtime/double_products.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import { channelsOf, OUTPUT_PROJECTION, type Space } from "../model/spaces.ts";
import { projectionName } from "../model/weight_names.ts";
import { gatherBlocks, type Tensor, zeros } from "../tensor/tensor.ts";
import {
  type Covariances,
  changedBy,
  covariancesOf,
  type DenseProjection,
  gather,
  type LinearChange,
  lambdaOf,
  ofSomeInputs,
  ROUNDING,
  regress,
} from "./regression.ts";
import { joinedColumns, partsOf, type SpacePart, stackedParts } from "./space_parts.ts";

/**
 * Lists of kept units by space id, each ascending. The first is the present list; each of the others has more units or
 * fewer, and none has a unit that the plan removes.
 */
export type Alternatives = Readonly<Record<string, readonly (readonly number[])[]>>;

/** The dense output projection on the units that any alternative has. */
interface WideProjection {
  readonly space: Space;
  /** Units, ascending. */
  readonly units: readonly number[];
  /** The dense model's, [C, channels of the units] and [C]. */
  readonly weight: Tensor;
  readonly bias: Tensor | null;
}

/** Channels that an alternative removes or adds, by their places among the n channels of all alternatives. */
interface Step {
  readonly adds: boolean;
  /** T, ascending. */
  readonly channels: Int32Array;
}

/** The covariances that involve added channels. */
interface AddedCovariances {
  /** cov(x_T, x_T), [t, t], its diagonal raised by the possible rounding error. */
  readonly square: Float64Array;
  /** cov(x_T, x_K), [t, k]. */
  readonly between: Float64Array;
  /** c_T, [C, t]. */
  readonly cross: Float64Array;
}

/** A change of the projection in factors of rank t: its output changes by outputs (inputs x). */
interface Change {
  /** [C, t] */
  readonly outputs: Float64Array;
  /** [t, n] */
  readonly inputs: Float64Array;
}

/** The fit of the present channels, which all changes of a projection share. */
interface Fit {
  readonly runtime: Runtime;
  readonly products: Products;
  /** The projection's tensor, for messages. */
  readonly name: string;
  /** K, ascending. */
  readonly present: Int32Array;
  /** Covariances of the inputs at K. */
  readonly covariances: Covariances;
  readonly lambda: number;
  /** D and P, [C, n]. */
  readonly dense: Tensor;
  readonly fitted: Tensor;
}

/** Options of {@link fitAlternatives}. */
export interface AlternativesRequest {
  readonly space: Space;
  readonly projection: DenseProjection;
  readonly alternatives: Alternatives[string];
  /** The units that the results have columns for, ascending: those of all alternatives, and perhaps others. */
  readonly onto: readonly number[];
  readonly ridge: number;
}

/** The present projection of a part and its changes, all with columns for `onto`. */
type FittedPart = DenseProjection & Readonly<Record<keyof ChangeNames, Tensor>>;

/**
 * Fits the present units, and every alternative, part by part; an alternative changes all parts by as many units.
 * @returns tensors by name: the present projection, with its bias if it has one, and the changes to the alternatives
 *   (`changeNames`)
 * @throws GpruneError NOT_FINITE naming the projection
 */
export async function fitAlternatives(
  runtime: Runtime,
  moments: SpaceMoments,
  request: AlternativesRequest,
): Promise<ReadonlyMap<string, Tensor>> {
  const { space, projection } = request;
  const parts: FittedPart[] = [];
  for await (const part of partsOf(space, projection, moments))
    parts.push(await fitPart(runtime, part, request));
  const names = changeNames(space);
  const [{ bias }] = parts as [FittedPart];
  const nameOf = (what: "weight" | "bias"): string =>
    projectionName(space.layer, OUTPUT_PROJECTION[space.kind], what);
  return new Map([
    [nameOf("weight"), joinedColumns(parts.map(({ weight }) => weight))],
    ...(bias === null ? [] : [[nameOf("bias"), bias] as const]),
    [names.inputs, stackedParts(parts.map(({ inputs }) => inputs))],
    [names.outputs, stackedParts(parts.map(({ outputs }) => outputs))],
    [names.centres, stackedParts(parts.map(({ centres }) => centres))],
  ]);
}

async function fitPart(
  runtime: Runtime,
  { space, projection: whole, moments, unitsOf }: SpacePart,
  request: AlternativesRequest,
): Promise<FittedPart> {
  const { ridge } = request;
  const alternatives = request.alternatives.map(unitsOf);
  const onto = unitsOf(request.onto);
  const wide = wideProjection(space, whole, alternatives);
  const { weight: dense } = wide;
  const isKept = new Set(onto);
  const removed = wide.units.find((unit) => !isKept.has(unit));
  if (removed !== undefined) throw internalError(`${space.id}: unit ${removed} of an alternative is removed`);
  const name = projectionName(space.layer, OUTPUT_PROJECTION[space.kind]);
  const [presentUnits = [], ...others] = alternatives;
  const present = channelsAmong(wide, presentUnits);
  const steps = others.map((units) => stepFrom(present, channelsAmong(wide, units)));
  const products = await compileProducts(runtime);
  const channels = (units: readonly number[]): Int32Array => channelsOf(units, space.unitChannels);
  const everyUnit = Array.from({ length: space.units }, (_, unit) => unit);
  const wideCovariances = await covariancesOf(products, moments, {
    projection: whole,
    kept: channels(wide.units),
    removed: without(channels(everyUnit), channels(presentUnits)),
  });
  // Copied before `ofSomeInputs` overwrites the matrices.
  const added = steps.map((step) => (step.adds ? addedCovariances(wideCovariances, step, present) : null));
  const covariances = ofSomeInputs(wideCovariances, present);
  const change = await regress(runtime, covariances, { ridge, name });
  const fitted = onWideChannels(wide, present, change);
  // Where all inputs are zero, as those of an expert that no token picked, any lambda gives the dense columns.
  const lambda = lambdaOf(covariances, ridge) || 1;
  const fit: Fit = { runtime, products, name, present, covariances, lambda, dense, fitted: fitted.weight };
  const changes = await changesBy(fit, steps, added);
  const { inputs, ...factors } = stackChanges(wide, changes, wideCovariances.inputMean);
  return {
    weight: scatterColumns(fitted.weight, wide, onto),
    bias: fitted.bias,
    inputs: scatterColumns(inputs, wide, onto),
    ...factors,
  };
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

/** Spreads a tensor's last axis, the channels of all alternatives, over the channels of `onto`; the others are 0. */
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

/** The places of some units' channels among those of all alternatives. */
function channelsAmong({ space, units: wide }: WideProjection, units: readonly number[]): Int32Array {
  const places = new Map(wide.map((unit, place) => [unit, place]));
  return channelsOf(
    units.map((unit) => places.get(unit)!),
    space.unitChannels,
  );
}

function stepFrom(present: Int32Array, other: Int32Array): Step {
  const [removed, added] = [without(present, other), without(other, present)];
  if (removed.length > 0 === added.length > 0)
    throw internalError("an alternative has neither more nor fewer units");
  return removed.length > 0 ? { adds: false, channels: removed } : { adds: true, channels: added };
}

/** The numbers of the first list that the second lacks. */
function without(list: Int32Array, others: Int32Array): Int32Array {
  const found = new Set(others);
  return list.filter((place) => !found.has(place));
}

function addedCovariances(
  { inputs, cross, inputMean, inputSquares, residualMean }: Covariances,
  { channels }: Step,
  present: Int32Array,
): AddedCovariances {
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

/** The change by every step. @param added - covariances of each step that adds channels; null for one that removes */
async function changesBy(
  fit: Fit,
  steps: readonly Step[],
  added: readonly (AddedCovariances | null)[],
): Promise<readonly Change[]> {
  const solved = await solveTogether(fit, steps, added);
  const changes: Change[] = [];
  for (const [index, step] of steps.entries()) {
    const ofAdded = added[index] ?? null;
    changes.push(
      ofAdded === null
        ? await changeByRemoval(fit, step, solved[index]!)
        : await changeByAddition(fit, step, { ...ofAdded, regression: solved[index]! }),
    );
  }
  return changes;
}

/**
 * Solves for all steps with one factorisation of M, [t, k] each: (M^-1)_TK where T is removed, cov(x_T, x_K) M^-1 where
 * it is added.
 */
async function solveTogether(
  { runtime, covariances, lambda, name, present }: Fit,
  steps: readonly Step[],
  added: readonly (AddedCovariances | null)[],
): Promise<readonly Float64Array[]> {
  const k = present.length;
  const starts = [0];
  for (const { channels } of steps) starts.push(starts.at(-1)! + channels.length * k);
  const rows = new Float64Array(starts.at(-1)!);
  for (const [index, { channels }] of steps.entries()) {
    const ofAdded = added[index];
    if (ofAdded) rows.set(ofAdded.between, starts[index]!);
    else
      for (const [i, place] of placesIn(present, channels).entries())
        rows[starts[index]! + i * k + place] = 1;
  }
  const solved = (await solveSpd(runtime, { matrix: covariances.inputs, rows, ridge: lambda, name })).rows;
  return steps.map((_, index) => solved.subarray(starts[index]!, starts[index + 1]!));
}

/** The change when T is removed. @param inverse - (M^-1)_TK, [t, k] */
async function changeByRemoval(
  { runtime, name, present, fitted }: Fit,
  { channels }: Step,
  inverse: Float64Array,
): Promise<Change> {
  const [t, columns] = [channels.length, present.length];
  const rows = Int32Array.from(channels.keys());
  const places = placesIn(present, channels);
  const others = placesIn(present, without(present, channels));
  const square = gather(inverse, { columns, rows, chosen: places });
  const beside = transposed(gather(inverse, { columns, rows, chosen: others }), others.length);
  const solved = (await solveSpd(runtime, { matrix: square, rows: beside, ridge: 0, name })).rows;
  const inputs = selectionRows(channels, fitted.shape[1]!);
  for (const [s, place] of others.entries()) {
    for (let i = 0; i < t; i++) inputs[i * fitted.shape[1]! + present[place]!] = solved[s * t + i]!;
  }
  return { outputs: columnsOf(fitted, channels).map((value) => -value), inputs };
}

/** The change when T is added. `regression` is cov(x_T, x_K) M^-1, [t, k]. */
async function changeByAddition(
  { runtime, products, name, present, covariances, lambda, dense }: Fit,
  { channels }: Step,
  { square, between, cross, regression }: AddedCovariances & { readonly regression: Float64Array },
): Promise<Change> {
  const [t, k] = [channels.length, present.length];
  const { multiplyTransposed } = products;
  const explained = await multiplyTransposed(matrixOf(regression, k), matrixOf(between, k));
  const matrix = square.map((value, i) => value - explained[i]! + (i % (t + 1) === 0 ? lambda : 0));
  const fittedCross = await multiplyTransposed(matrixOf(covariances.cross, k), matrixOf(regression, k));
  const columns = columnsOf(dense, channels);
  const rows = cross.map((value, i) => value - fittedCross[i]! + lambda * columns[i]!);
  const outputs = (await solveSpd(runtime, { matrix, rows, ridge: 0, name })).rows;
  const inputs = selectionRows(channels, dense.shape[1]!);
  for (const [j, place] of present.entries()) {
    for (let i = 0; i < t; i++) inputs[i * dense.shape[1]! + place] = -regression[i * k + j]!;
  }
  return { outputs, inputs };
}

/** One-hot rows that select one channel each, [t, n]. */
function selectionRows(channels: Int32Array, columns: number): Float64Array {
  const result = new Float64Array(channels.length * columns);
  for (const [i, channel] of channels.entries()) result[i * columns + channel] = 1;
  return result;
}

/** The chosen columns of a weight, [C, t]. */
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

/** The places of some channels in a list that contains them, both ascending. */
function placesIn(list: Int32Array, some: Int32Array): Int32Array {
  const places = new Map(Array.from(list, (channel, place) => [channel, place]));
  return some.map((channel) => places.get(channel)!);
}

/** The fitted projection and bias: the present columns with their change, zeros for the other channels. */
function onWideChannels(
  { weight, bias }: WideProjection,
  present: Int32Array,
  change: LinearChange,
): DenseProjection {
  const { shape, data } = weight;
  const [size = 0, channels = 0] = shape;
  const result = new Float32Array(data.length);
  for (let row = 0; row < size; row++) {
    for (const [i, channel] of present.entries()) {
      const place = row * channels + channel;
      result[place] = data[place]! + change.weight[row * present.length + i]!;
    }
  }
  return { weight: { shape, data: result }, bias: bias && changedBy(bias, change.bias) };
}

/** All changes in one tensor for each factor, padded with zeros to the largest rank. @param means - of x, [n] */
function stackChanges(
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
