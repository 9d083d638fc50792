/**
 * Ridge regression from second moments: which change of a linear map's weight and bias removes most of a residual.
 *
 * minimise over D [C, n], e [C]:  E ||r - D x - e||^2 + lambda ||D||^2
 * D = cov(r, x) (cov(x, x) + lambda I)^-1,   e = E r - D E x,   lambda = ridge * mean diagonal of cov(x, x)
 *
 * Moments are sums of float32 products, so an input's variance below 1e-4 of its mean square is rounding, perhaps
 * negative. It counts as that much and has no part in lambda: an input that hardly varies changes nothing for the
 * others. Inputs that are always zero determine nothing: D = 0.
 */
import type { SpaceMoments } from "../calibrate/moments.ts";
import { GpruneError } from "../errors.ts";
import { solveSpd } from "../graph/runtime/cholesky.ts";
import { matrixOf, type Products } from "../graph/runtime/double_products.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import { loaded } from "../tensor/stash.ts";
import { gatherSymmetric } from "../tensor/symmetric.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Variances are not known better than to this fraction of their mean squares: a thousand tokens times 2^-24. */
export const ROUNDING = 1e-4;

/** Second moments about the means, and the means, of inputs x [n] and residuals r [C]. */
export interface Covariances {
  /** cov(x, x), [n, n]. */
  readonly inputs: Float64Array;
  /** cov(r, x), [C, n]. */
  readonly cross: Float64Array;
  /** E x, [n]. */
  readonly inputMean: Float64Array;
  /** E x^2, [n]. */
  readonly inputSquares: Float64Array;
  /** E r, [C]. */
  readonly residualMean: Float64Array;
}

/** A linear map from n channels to C, in the dense model. */
export interface DenseProjection {
  /** [C, n] */
  readonly weight: Tensor;
  /** [C] */
  readonly bias: Tensor;
}

/** Which of a projection's inputs do what. */
export interface InputSplit {
  readonly projection: DenseProjection;
  /** Channels x that a map is fitted on, ascending. */
  readonly kept: Int32Array;
  /** Channels whose part of the output is the residual r; they may be among those. */
  readonly removed: Int32Array;
}

/**
 * The covariances of the inputs that are kept and of what is removed with others: cov(W x_lost, x_kept) = W cov(x_lost,
 * x_kept).
 */
export async function covariancesOf(
  { multiply }: Products,
  { mean, squares, covariance }: SpaceMoments,
  { projection: { weight }, kept, removed }: InputSplit,
): Promise<Covariances> {
  const [size = 0, columns = 0] = weight.shape;
  const rows = Int32Array.from({ length: size }, (_, row) => row);
  const { data: triangle } = await loaded(covariance);
  const map = gather(weight.data, { columns, rows, chosen: removed });
  const cross =
    removed.length === 0
      ? new Float64Array(size * kept.length)
      : await multiply(
          matrixOf(map, removed.length),
          matrixOf(gatherSymmetric(triangle, removed, kept), kept.length),
        );
  const removedMean = Float64Array.from(removed, (j) => mean[j]!);
  return {
    inputs: gatherSymmetric(triangle, kept, kept),
    cross,
    inputMean: Float64Array.from(kept, (j) => mean[j]!),
    inputSquares: Float64Array.from(kept, (j) => squares[j]!),
    residualMean: Float64Array.from(rows, (row) => dotRow(map, row, removedMean)),
  };
}

/** Those of some of the inputs, ascending; the matrices are in the place of what they come from, which is gone then. */
export function ofSomeInputs(
  { inputs, cross, inputMean, inputSquares, residualMean }: Covariances,
  some: Int32Array,
): Covariances {
  const columns = inputMean.length;
  const every = Int32Array.from(residualMean.keys());
  const into = (own: Float64Array, rows: Int32Array): Float64Array =>
    own.subarray(0, rows.length * some.length);
  // Every number moves towards the beginning or stays, so arrays can be their own targets.
  return {
    inputs: gather(inputs, { columns, rows: some, chosen: some }, into(inputs, some)),
    cross: gather(cross, { columns, rows: every, chosen: some }, into(cross, every)),
    inputMean: Float64Array.from(some, (j) => inputMean[j]!),
    inputSquares: Float64Array.from(some, (j) => inputSquares[j]!),
    residualMean,
  };
}

/** Copies the chosen columns of the chosen rows. */
export function gather(
  matrix: ArrayLike<number>,
  { columns, rows, chosen }: { columns: number; rows: Int32Array; chosen: Int32Array },
  into: Float64Array = new Float64Array(rows.length * chosen.length),
): Float64Array {
  let next = 0;
  for (const row of rows) for (const column of chosen) into[next++] = matrix[row * columns + column]!;
  return into;
}

/** A change of a linear map. */
export interface LinearChange {
  /** D, [C, n]. */
  readonly weight: Float64Array;
  /** e, [C]. */
  readonly bias: Float64Array;
}

/** lambda. Variances that are rounding are raised in place; that changes nothing when it is done again. */
export function lambdaOf({ inputs, inputSquares }: Covariances, ridge: number): number {
  return ridge * settledVariance(inputs, inputSquares);
}

/**
 * Solves the regression. Variances that are rounding are raised in place.
 * @param ridge - lambda as a fraction of the mean variance of the inputs, > 0
 * @param name - the tensor that is solved for, in error messages
 * @throws GpruneError NOT_FINITE naming the tensor
 */
export async function regress(
  runtime: Runtime,
  covariances: Covariances,
  { ridge, name }: { readonly ridge: number; readonly name: string },
): Promise<LinearChange> {
  const { inputs, cross, inputMean, inputSquares, residualMean } = covariances;
  const system = { matrix: inputs, rows: cross, ridge: lambdaOf(covariances, ridge), name };
  const isZero = inputSquares.every((square) => square === 0);
  const weight = isZero ? new Float64Array(cross.length) : (await solveSpd(runtime, system)).rows;
  const bias = residualMean.map((mean, i) => mean - dotRow(weight, i, inputMean));
  const bad = bias.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw new GpruneError("NOT_FINITE", `${name}: expected finite numbers, got ${bad}`);
  return { weight, bias };
}

/**
 * Raises the variances that are rounding to what rounding can be.
 * @param squares - mean squares of the inputs, [n]
 * @returns the mean of the others, or of all where there are none
 */
function settledVariance(covariance: Float64Array, squares: Float64Array): number {
  const n = squares.length;
  let [known, raised, varying] = [0, 0, 0];
  for (let j = 0; j < n; j++) {
    const least = ROUNDING * squares[j]!;
    const variance = covariance[j * n + j]!;
    if (variance > least) {
      known += variance;
      varying += 1;
    } else {
      covariance[j * n + j] = least;
      raised += least;
    }
  }
  return varying > 0 ? known / varying : raised / n;
}

function dotRow(matrix: Float64Array, row: number, vector: Float64Array): number {
  const start = row * vector.length;
  let sum = 0;
  for (let j = 0; j < vector.length; j++) sum += matrix[start + j]! * vector[j]!;
  return sum;
}
