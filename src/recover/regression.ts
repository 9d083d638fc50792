/**
 * Ridge regression from moments: which change of a linear map's weight and bias removes most of a residual. Moments are
 * sums over micro-batches in float64, so the tokens themselves are never held.
 *
 * minimise over D [C, n], e [C]:  E ||r - D x - e||^2 + lambda ||D||^2
 * D = cov(r, x) (cov(x, x) + lambda I)^-1,   e = E r - D E x,   lambda = ridge * mean diagonal of cov(x, x)
 *
 * Moments are sums of float32 products, so an input's variance below 1e-4 of its mean square is rounding, perhaps negative. It
 * counts as that much and has no part in lambda: an input that hardly varies changes nothing for the others. Inputs that are
 * always zero determine nothing: D = 0.
 */
import { GpruneError } from "../errors.ts";
import { solveSpd } from "../graph/cholesky.ts";
import type { Outputs } from "../graph/decoder_runner.ts";
import { compileProducts, matrixOf } from "../graph/double_products.ts";
import type { Runtime } from "../graph/runtime.ts";

/** Variances are not known better than to this fraction of their mean squares: a thousand tokens times 2^-24. */
const ROUNDING = 1e-4;

/** Moments of inputs x [n] and residuals r [C]: weighted sums over tokens, the weights of all tokens sum to 1. */
export class Moments {
  /** E x x^T, [n, n]. */
  readonly gram: Float64Array;
  /** E r x^T, [C, n]. */
  readonly cross: Float64Array;
  /** E x, [n]. */
  readonly inputMean: Float64Array;
  /** E r, [C]. */
  readonly residualMean: Float64Array;

  constructor(inputs: number, outputs: number) {
    this.gram = new Float64Array(inputs * inputs);
    this.cross = new Float64Array(outputs * inputs);
    this.inputMean = new Float64Array(inputs);
    this.residualMean = new Float64Array(outputs);
  }

  /**
   * @param sums - `gram`, `cross`, `inputSum` and `residualSum` of the programs `attentionMoments` and `ffnMoments`
   * @param tokenWeight - of each of the tokens summed over
   */
  add(sums: Outputs, tokenWeight: number): void {
    addScaled(this.gram, sums.gram!.data, tokenWeight);
    addScaled(this.cross, sums.cross!.data, tokenWeight);
    addScaled(this.inputMean, sums.inputSum!.data, tokenWeight);
    addScaled(this.residualMean, sums.residualSum!.data, tokenWeight);
  }
}

/**
 * Moments of a regression on some of the inputs, where the output of the others is lost too: r + V x_dropped, V their columns of
 * the map. With them cov(r, x) and E r change, and nothing needs the tokens again.
 * @param kept - the inputs that stay, ascending
 * @param map - of all inputs, [C, n]
 */
export async function onFewerInputs(
  runtime: Runtime,
  { gram, cross, inputMean, residualMean }: Moments,
  { kept, map }: { readonly kept: Int32Array; readonly map: Float32Array },
): Promise<Moments> {
  const n = inputMean.length;
  const stays = new Set(kept);
  const dropped = Int32Array.from(inputMean.keys()).filter((j) => !stays.has(j));
  const [k, m, outputs] = [kept.length, dropped.length, residualMean.length];
  const result = new Moments(k, outputs);
  gather(gram, { columns: n, rows: kept, chosen: kept }, result.gram);
  gather(cross, { columns: n, rows: residualMean.keys(), chosen: kept }, result.cross);
  for (const [i, j] of kept.entries()) result.inputMean[i] = inputMean[j]!;
  result.residualMean.set(residualMean);
  if (m === 0) return result;
  const lost = new Float64Array(outputs * m);
  gather(map, { columns: n, rows: residualMean.keys(), chosen: dropped }, lost);
  const between = new Float64Array(m * k);
  gather(gram, { columns: n, rows: dropped, chosen: kept }, between);
  const { multiply } = await compileProducts(runtime);
  const added = await multiply(matrixOf(lost, m), matrixOf(between, k));
  for (let i = 0; i < added.length; i++) result.cross[i]! += added[i]!;
  const means = Float64Array.from(dropped, (j) => inputMean[j]!);
  for (let i = 0; i < outputs; i++) result.residualMean[i]! += dotRow(lost, i, means);
  return result;
}

/** Copies the chosen columns of the chosen rows. */
function gather(
  matrix: ArrayLike<number>,
  { columns, rows, chosen }: { columns: number; rows: Iterable<number>; chosen: Int32Array },
  into: Float64Array,
): void {
  let next = 0;
  for (const row of rows) for (const column of chosen) into[next++] = matrix[row * columns + column]!;
}

/** A change of a linear map. */
export interface LinearChange {
  /** D, [C, n]. */
  readonly weight: Float64Array;
  /** e, [C]. */
  readonly bias: Float64Array;
}

/**
 * Solves the regression. The moments are used up: they are centred in place.
 * @param ridge - lambda as a fraction of the mean variance of the inputs, > 0
 * @param name - the tensor that is solved for, in error messages
 * @throws GpruneError NOT_FINITE naming the tensor
 */
export async function regress(
  runtime: Runtime,
  moments: Moments,
  { ridge, name }: { readonly ridge: number; readonly name: string },
): Promise<LinearChange> {
  const { gram, cross, inputMean, residualMean } = moments;
  const n = inputMean.length;
  const squares = inputMean.map((_, j) => gram[j * n + j]!);
  subtractOuter(gram, inputMean, inputMean);
  subtractOuter(cross, residualMean, inputMean);
  const system = { matrix: gram, rows: cross, ridge: ridge * settledVariance(gram, squares), name };
  const isZero = squares.every((square) => square === 0);
  const weight = isZero ? cross.fill(0) : (await solveSpd(runtime, system)).rows;
  const bias = residualMean.map((mean, i) => mean - dotRow(weight, i, inputMean));
  const bad = bias.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw new GpruneError("NOT_FINITE", `${name}: expected finite numbers, got ${bad}`);
  return { weight, bias };
}

/** target += factor * values; several rows of values are added up in the target's one. */
function addScaled(target: Float64Array, values: Float32Array, factor: number): void {
  const { length } = target;
  for (let start = 0; start < values.length; start += length) {
    for (let i = 0; i < length; i++) target[i]! += factor * values[start + i]!;
  }
}

/** matrix -= a b^T. */
function subtractOuter(matrix: Float64Array, a: Float64Array, b: Float64Array): void {
  const columns = b.length;
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j < columns; j++) matrix[i * columns + j]! -= a[i]! * b[j]!;
  }
}

/**
 * Raises the variances that are rounding to what rounding can be.
 * @param squares - mean squares of the inputs, [n]
 * @returns the mean of the others, or of all where there are none
 */
function settledVariance(covariance: Float64Array, squares: Float64Array): number {
  const n = squares.length;
  let [known, raised] = [0, 0];
  for (let j = 0; j < n; j++) {
    const least = ROUNDING * squares[j]!;
    const variance = covariance[j * n + j]!;
    if (variance >= least) known += variance;
    else {
      covariance[j * n + j] = least;
      raised += least;
    }
  }
  return (known > 0 ? known : raised) / n;
}

function dotRow(matrix: Float64Array, row: number, vector: Float64Array): number {
  const start = row * vector.length;
  let sum = 0;
  for (let j = 0; j < vector.length; j++) sum += matrix[start + j]! * vector[j]!;
  return sum;
}
