/**
 * Eigenvalues of small symmetric matrices (one row for each calibration set) by cyclic Jacobi rotations: simple,
 * accurate to float64, deterministic. Source: Golub and Van Loan, Matrix Computations, 4th edition, section 8.5.
 */

/** Eigenvalues, largest first, and unit eigenvectors of a symmetric matrix. */
export interface Eigen {
  /** [n], descending. */
  readonly values: Float64Array;
  /** One array of [n] for each value. */
  readonly vectors: readonly Float64Array[];
}

/** Sweeps converge quadratically: about 6 are needed for n = 20. */
const MAX_SWEEPS = 50;

/** @param matrix - symmetric, row-major, [n * n] */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const a = matrix.slice();
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  const total = a.reduce((sum, x) => sum + x * x, 0);
  for (let sweep = 0; sweep < MAX_SWEEPS && offDiagonal(a, n) > 1e-30 * total; sweep++) {
    for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) rotate({ a, v, n }, p, q);
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j]! - a[i * n + i]! || i - j);
  return {
    values: Float64Array.from(order, (i) => a[i * n + i]!),
    vectors: order.map((i) => Float64Array.from({ length: n }, (_, row) => v[row * n + i]!)),
  };
}

/** Sum of the squares above the diagonal. */
function offDiagonal(a: Float64Array, n: number): number {
  let sum = 0;
  for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) sum += a[p * n + q]! ** 2;
  return sum;
}

interface JacobiState {
  /** The matrix on its way to diagonal form and the product of the rotations so far, both [n * n]. */
  readonly a: Float64Array;
  readonly v: Float64Array;
  readonly n: number;
}

/** Applies the rotation that makes a_pq zero. */
function rotate({ a, v, n }: JacobiState, p: number, q: number): void {
  const apq = a[p * n + q]!;
  if (apq === 0) return;
  const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
  const tangent = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const cosine = 1 / Math.hypot(tangent, 1);
  const sine = tangent * cosine;
  const turn = (matrix: Float64Array, i: number, j: number): void => {
    const x = matrix[i]!;
    const y = matrix[j]!;
    matrix[i] = cosine * x - sine * y;
    matrix[j] = sine * x + cosine * y;
  };
  for (let i = 0; i < n; i++) turn(a, i * n + p, i * n + q);
  for (let i = 0; i < n; i++) turn(a, p * n + i, q * n + i);
  for (let i = 0; i < n; i++) turn(v, i * n + p, i * n + q);
  a[p * n + q] = 0;
  a[q * n + p] = 0;
}
