/**
 * Ridge regression from second moments: the change of a linear map's weight and bias that best fits a residual.
 *
 * minimise over D [C, n], e [C]:  E ||r - D x - e||^2 + lambda ||D||^2
 * D = cov(r, x) (cov(x, x) + lambda I)^-1,   e = E r - D E x,   lambda = ridge * mean diagonal of cov(x, x)
 *
 * A map that may have no bias is fitted on moments about zero, E x x^T and E r x^T, in place of covariances; e is 0.
 *
 * Moments are sums of float32 products, so a variance below 1e-4 of the input's mean square is a rounding error and may
 * be negative. It is raised to 1e-4 of the mean square and left out of lambda, so that an input that hardly varies does
 * not affect the others. If all inputs are always zero, D = 0.
 */
import type { SpaceMoments } from "../calibrate/moments.ts";
import { GpruneError } from "../errors.ts";
import { solveSpd } from "../graph/runtime/cholesky.ts";
import { matrixOf, type Products } from "../graph/runtime/double_products.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import { loaded } from "../tensor/stash.ts";
import { gatherSymmetric } from "../tensor/symmetric.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Rounding error of a variance as a fraction of the mean square: about a thousand tokens times 2^-24. */
export const ROUNDING = 1e-4;

/** Means of inputs x [n] and residuals r [C], and second moments about them; about zero if the means are given as 0. */
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

/** A linear map from n channels to C, of the dense model. */
export interface DenseProjection {
  /** [C, n] */
  readonly weight: Tensor;
  /** [C]; null where it has none and may get none. */
  readonly bias: Tensor | null;
}

/** A projection, the inputs to fit on, and those whose output is the residual. */
export interface InputSplit {
  readonly projection: DenseProjection;
  /** Channels x to fit on, ascending. */
  readonly kept: Int32Array;
  /** Channels whose contribution to the output is the residual r; `kept` may contain them. */
  readonly removed: Int32Array;
}

/**
 * Covariances of the kept inputs and of the residual with them: cov(W_R x_R, x_K) = W_R cov(x_R, x_K). For a projection
 * without bias they are about zero.
 */
export async function covariancesOf(
  { multiply }: Products,
  { mean, squares, covariance }: SpaceMoments,
  { projection: { weight, bias }, kept, removed }: InputSplit,
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
  const covariances = {
    inputs: gatherSymmetric(triangle, kept, kept),
    cross,
    inputMean: Float64Array.from(kept, (j) => mean[j]!),
    inputSquares: Float64Array.from(kept, (j) => squares[j]!),
    residualMean: Float64Array.from(rows, (row) => dotRow(map, row, removedMean)),
  };
  return bias === null ? aboutZero(covariances) : covariances;
}

/** The moments about zero. The matrices overwrite those of the argument. */
function aboutZero({ inputs, cross, inputMean, residualMean, inputSquares }: Covariances): Covariances {
  const addProducts = (matrix: Float64Array, means: Float64Array): void => {
    for (const [row, mean] of means.entries()) {
      const start = row * inputMean.length;
      for (let j = 0; j < inputMean.length; j++) matrix[start + j]! += mean * inputMean[j]!;
    }
  };
  addProducts(inputs, inputMean);
  addProducts(cross, residualMean);
  const zero = (values: Float64Array): Float64Array => new Float64Array(values.length);
  return { inputs, cross, inputMean: zero(inputMean), inputSquares, residualMean: zero(residualMean) };
}

/** The covariances of some of the inputs, ascending. The matrices overwrite those of the argument. */
export function ofSomeInputs(
  { inputs, cross, inputMean, inputSquares, residualMean }: Covariances,
  some: Int32Array,
): Covariances {
  const columns = inputMean.length;
  const allRows = Int32Array.from(residualMean.keys());
  const into = (matrix: Float64Array, rows: Int32Array): Float64Array =>
    matrix.subarray(0, rows.length * some.length);
  // Every number moves towards the beginning or stays, so a matrix can be gathered into itself.
  return {
    inputs: gather(inputs, { columns, rows: some, chosen: some }, into(inputs, some)),
    cross: gather(cross, { columns, rows: allRows, chosen: some }, into(cross, allRows)),
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

/** The sum of a tensor and its change, rounded once. */
export function changedBy({ shape, data }: Tensor, change: Float64Array): Tensor {
  return { shape, data: data.map((value, i) => value + change[i]!) };
}

/** lambda. Raises variances that are rounding errors in place, which is idempotent. */
export function lambdaOf({ inputs, inputSquares }: Covariances, ridge: number): number {
  return ridge * raiseSmallVariances(inputs, inputSquares);
}

/**
 * Solves the regression. Raises variances that are rounding errors in place.
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
 * Raises the variances that are rounding errors to the size of these errors.
 * @param squares - mean squares of the inputs, [n]
 * @returns the mean of the other variances, or of all if there are no others
 */
function raiseSmallVariances(covariance: Float64Array, squares: Float64Array): number {
  const n = squares.length;
  let [sum, raised, varying] = [0, 0, 0];
  for (let j = 0; j < n; j++) {
    const least = ROUNDING * squares[j]!;
    const variance = covariance[j * n + j]!;
    if (variance > least) {
      sum += variance;
      varying += 1;
    } else {
      covariance[j * n + j] = least;
      raised += least;
    }
  }
  return varying > 0 ? sum / varying : raised / n;
}

function dotRow(matrix: Float64Array, row: number, vector: Float64Array): number {
  const start = row * vector.length;
  let sum = 0;
  for (let j = 0; j < vector.length; j++) sum += matrix[start + j]! * vector[j]!;
  return sum;
}
