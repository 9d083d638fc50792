/** Symmetric matrices as their packed lower triangles: row i has columns 0 to i, one row after the other. */

/** Numbers in the triangle of an [n, n] matrix. */
export function triangleLength(n: number): number {
  return (n * (n + 1)) / 2;
}

/** Index of row i's first column in the triangle. */
export function triangleRow(i: number): number {
  return (i * (i + 1)) / 2;
}

/** The given rows and columns of a symmetric matrix, from its triangle, [rows, columns]. */
export function gatherSymmetric(
  triangle: ArrayLike<number>,
  rows: Int32Array,
  columns: Int32Array,
): Float64Array {
  const result = new Float64Array(rows.length * columns.length);
  let next = 0;
  for (const i of rows) {
    const row = triangleRow(i);
    for (const j of columns) result[next++] = triangle[j <= i ? row + j : triangleRow(j) + i]!;
  }
  return result;
}
