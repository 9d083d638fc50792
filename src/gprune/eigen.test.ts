import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { symmetricEigen } from "./eigen.ts";

const symmetric = fc.integer({ min: 1, max: 8 }).chain((n) =>
  fc
    .array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: n * n, maxLength: n * n })
    .map((values) => ({
      n,
      matrix: Float64Array.from(values, (_, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        return values[Math.min(i, j) * n + Math.max(i, j)]!;
      }),
    })),
);

describe("symmetricEigen", () => {
  test("gives the known eigenvalues and eigenvectors of [[2, 1], [1, 2]]", () => {
    const { values, vectors } = symmetricEigen(Float64Array.of(2, 1, 1, 2), 2);
    expect(values[0]).toBeCloseTo(3, 12);
    expect(values[1]).toBeCloseTo(1, 12);
    expect(Math.abs(vectors[0]![0]!)).toBeCloseTo(Math.SQRT1_2, 12);
  });

  test("gives A v = lambda v for orthonormal v, largest lambda first", () => {
    fc.assert(
      fc.property(symmetric, ({ n, matrix }) => {
        const { values, vectors } = symmetricEigen(matrix, n);
        expect([...values]).toEqual([...values].sort((a, b) => b - a));
        for (const [k, v] of vectors.entries()) {
          for (let i = 0; i < n; i++) {
            const product = v.reduce((sum, x, j) => sum + matrix[i * n + j]! * x, 0);
            expect(product).toBeCloseTo(values[k]! * v[i]!, 8);
          }
          for (const [l, w] of vectors.entries()) {
            const dot = v.reduce((sum, x, i) => sum + x * w[i]!, 0);
            expect(dot).toBeCloseTo(k === l ? 1 : 0, 10);
          }
        }
      }),
    );
  });

  test("accepts zero matrices", () => {
    expect([...symmetricEigen(new Float64Array(9), 3).values]).toEqual([0, 0, 0]);
  });
});
