/**
 * Solves symmetric positive definite systems with many right-hand sides by a blocked left-looking Cholesky
 * factorisation in float64. Products of blocks, all but O(n * block^2) of the work, run in ONNX Runtime's `Gemm`;
 * diagonal blocks are factored and inverted here. Not for small or single systems, where the calls cost more than the
 * arithmetic.
 *
 * Based on Golub & Van Loan, Matrix Computations, 4.2.9, with the right-hand sides as extra rows of the matrix: their
 * forward substitution is then the factorisation itself.
 */
import { GpruneError, internalError } from "../../errors.ts";
import { compileProducts, matrixOf, type Products } from "./double_products.ts";
import type { Runtime } from "./runtime.ts";

/** X (A + ridge I) = B, row by row: each row of B [m, n] is one right-hand side. */
export interface SpdSystem {
  /** A [n, n], symmetric, row-major; only its lower triangle and diagonal are read. */
  readonly matrix: Float64Array;
  /** B [m, n], row-major. */
  readonly rows: Float64Array;
  /** >= 0, added to the diagonal. */
  readonly ridge: number;
  /** Name of the system in error messages. */
  readonly name: string;
}

export interface SpdSolution {
  /** X [m, n]. */
  readonly rows: Float64Array;
  /**
   * The ridge that was used: that of the system, or 10, 100 or 1000 times that; for a system without one, 0 or 1e-12,
   * 1e-11 or 1e-10 of the mean diagonal.
   */
  readonly ridge: number;
}

export interface SolveOptions {
  /** Columns of a block. */
  readonly blockSize?: number;
}

/**
 * Measured on 2 busy cores with 576 right-hand sides: n = 1536 takes 0.4 s, n = 4608 3.5 s; 256 takes 0.4 and 4.0 s.
 */
const BLOCK_SIZE = 128;
/** Attempts with ten times the ridge each when the matrix is not positive definite in float64. */
const RETRIES = 3;
/** The first ridge of a retry without one, as a fraction of the mean diagonal. */
const SMALLEST_RIDGE = 1e-12;

/**
 * Solves X (A + ridge I) = B. Holds n * (n / 2 + 2 m) numbers besides its arguments.
 * @throws GpruneError NOT_FINITE naming the system when it holds NaN or infinities or stays indefinite with the
 *   largest ridge
 */
export async function solveSpd(
  runtime: Runtime,
  system: SpdSystem,
  { blockSize = BLOCK_SIZE }: SolveOptions = {},
): Promise<SpdSolution> {
  const { matrix, rows, name } = system;
  const n = Math.round(Math.sqrt(matrix.length));
  if (n * n !== matrix.length || rows.length % n !== 0) {
    throw internalError(`${name}: ${matrix.length} numbers of a matrix, ${rows.length} of right-hand sides`);
  }
  if (!(allFinite(matrix) && allFinite(rows))) {
    throw new GpruneError("NOT_FINITE", `${name}: expected finite moments, got NaN or infinity`);
  }
  const products = await compileProducts(runtime);
  let { ridge } = system;
  for (let attempt = 0; attempt <= RETRIES; attempt++) {
    const factor = await factorise(products, { ...system, ridge, n, blockSize });
    if (factor !== undefined) return { rows: await substituteBack(products, factor), ridge };
    ridge = ridge > 0 ? ridge * 10 : SMALLEST_RIDGE * meanDiagonal(matrix, n);
  }
  throw new GpruneError("NOT_FINITE", `${name}: expected a positive definite matrix, got an indefinite one`, {
    hint: "Give more calibration text, or recover without least squares (--recover bias).",
  });
}

/** Columns `start` to `start + width` of the factor L, and of Z = B L^-T below it. */
interface Panel {
  readonly start: number;
  readonly width: number;
  /** [n - start + m, width]: rows `start` to n of L, then the m rows of Z. */
  data: Float64Array;
  /** Inverse of the panel's diagonal block, [width, width]. */
  inverse: Float64Array;
}

interface Factor {
  readonly n: number;
  /** Number of right-hand sides. */
  readonly m: number;
  readonly panels: readonly Panel[];
}

/** A + ridge I = L L^T and Z = B L^-T; undefined when a pivot is not positive. */
async function factorise(
  { subtractTransposed, multiplyTransposed, collectIfGrown }: Products,
  system: SpdSystem & { readonly n: number; readonly blockSize: number },
): Promise<Factor | undefined> {
  const { n, rows, blockSize } = system;
  const m = rows.length / n;
  const panels: Panel[] = [];
  for (let start = 0; start < n; start += blockSize) {
    const width = Math.min(blockSize, n - start);
    let data = panelOf(system, { start, width });
    for (const earlier of panels) {
      const below = earlier.data.subarray((start - earlier.start) * earlier.width);
      const beside = below.subarray(0, width * earlier.width);
      data = await subtractTransposed(
        matrixOf(data, width),
        matrixOf(below, earlier.width),
        matrixOf(beside, earlier.width),
      );
    }
    if (!factoriseBlock(data, width)) return undefined;
    const inverse = invertLower(data, width);
    const below = data.subarray(width * width);
    if (below.length > 0) {
      data.set(await multiplyTransposed(matrixOf(below, width), matrixOf(inverse, width)), width * width);
    }
    panels.push({ start, width, data, inverse });
    collectIfGrown();
  }
  return { n, m, panels };
}

/** X = Z L^-1, block column by block column from the last: X_k = (Z_k - sum over j > k of X_j L_jk) L_kk^-1. */
async function substituteBack(
  { subtract, multiply, collectIfGrown }: Products,
  { n, m, panels }: Factor,
): Promise<Float64Array> {
  const solved = new Float64Array(m * n);
  if (m === 0) return solved;
  const columns: { readonly start: number; readonly width: number; readonly data: Float64Array }[] = [];
  for (const { start, width, data, inverse } of panels.toReversed()) {
    let residual = data.subarray((n - start) * width);
    for (const later of columns) {
      const offset = (later.start - start) * width;
      const between = data.subarray(offset, offset + later.width * width);
      residual = await subtract(
        matrixOf(residual, width),
        matrixOf(later.data, later.width),
        matrixOf(between, width),
      );
    }
    const column = await multiply(matrixOf(residual, width), matrixOf(inverse, width));
    columns.push({ start, width, data: column });
    for (let i = 0; i < m; i++) solved.set(column.subarray(i * width, (i + 1) * width), i * n + start);
    collectIfGrown();
  }
  return solved;
}

/** Copies the columns of a panel out of A + ridge I and B. */
function panelOf(
  { matrix, rows, ridge, n }: SpdSystem & { readonly n: number },
  { start, width }: { readonly start: number; readonly width: number },
): Float64Array {
  const m = rows.length / n;
  const data = new Float64Array((n - start + m) * width);
  for (let i = start; i < n; i++) {
    data.set(matrix.subarray(i * n + start, i * n + start + width), (i - start) * width);
  }
  for (let j = 0; j < width; j++) data[j * width + j]! += ridge;
  for (let i = 0; i < m; i++) {
    data.set(rows.subarray(i * n + start, i * n + start + width), (n - start + i) * width);
  }
  return data;
}

/** Replaces the leading [n, n] of `a` by its Cholesky factor, zeros above the diagonal; false at a pivot <= 0. */
function factoriseBlock(a: Float64Array, n: number): boolean {
  for (let j = 0; j < n; j++) {
    const diagonal = a[j * n + j]! - dot(a, { x: j * n, y: j * n, length: j });
    if (!(diagonal > 0)) return false;
    const pivot = Math.sqrt(diagonal);
    a[j * n + j] = pivot;
    for (let i = j + 1; i < n; i++) {
      a[i * n + j] = (a[i * n + j]! - dot(a, { x: i * n, y: j * n, length: j })) / pivot;
    }
    a.fill(0, j * n + j + 1, (j + 1) * n);
  }
  return true;
}

/** Sum of a[x + k] * a[y + k]; four sums at a time, which halves the latency of a single one. */
function dot(
  a: Float64Array,
  { x, y, length }: { readonly x: number; readonly y: number; readonly length: number },
): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let k = 0;
  for (; k + 4 <= length; k += 4) {
    s0 += a[x + k]! * a[y + k]!;
    s1 += a[x + k + 1]! * a[y + k + 1]!;
    s2 += a[x + k + 2]! * a[y + k + 2]!;
    s3 += a[x + k + 3]! * a[y + k + 3]!;
  }
  for (; k < length; k++) s0 += a[x + k]! * a[y + k]!;
  return s0 + s1 + (s2 + s3);
}

/** Inverse of the lower triangular leading [n, n] of `a`: row i is (e_i - sum over k < i of a_ik * row k) / a_ii. */
function invertLower(a: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) {
      const factor = a[i * n + k]!;
      for (let j = 0; j <= k; j++) inverse[i * n + j]! -= factor * inverse[k * n + j]!;
    }
    const pivot = a[i * n + i]!;
    for (let j = 0; j < i; j++) inverse[i * n + j]! /= pivot;
    inverse[i * n + i] = 1 / pivot;
  }
  return inverse;
}

/** Mean of the diagonal, 1 where it is zero. */
function meanDiagonal(matrix: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += matrix[i * n + i]!;
  return sum / n || 1;
}

function allFinite(values: Float64Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * 0;
  return sum === 0;
}
