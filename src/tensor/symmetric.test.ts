import fc from "fast-check";
import { expect, test } from "vitest";
import { gatherSymmetric, triangleLength, triangleRow } from "./symmetric.ts";

test("any rows and columns of a matrix come from its lower triangle", () => {
  const sizes = fc.integer({ min: 1, max: 9 });
  fc.assert(
    fc.property(
      sizes.chain((n) => {
        const places = fc.uniqueArray(fc.nat(n - 1)).map((list) => Int32Array.from(list));
        return fc.record({ n: fc.constant(n), rows: places, columns: places });
      }),
      ({ n, rows, columns }) => {
        const entry = (i: number, j: number): number => 100 * Math.max(i, j) + Math.min(i, j);
        const triangle = new Float32Array(triangleLength(n));
        for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) triangle[triangleRow(i) + j] = entry(i, j);
        const expected = [...rows].flatMap((i) => Array.from(columns, (j) => entry(i, j)));
        expect([...gatherSymmetric(triangle, rows, columns)]).toEqual(expected);
      },
    ),
  );
});
