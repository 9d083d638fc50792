import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type BlockTensor, blocksOfRow } from "./blocks.ts";
import { inTwoTerms, TWO_TERMS } from "./two_terms.ts";

/** A weight in float64, from both terms. */
function weightAt(
  { shape: [rows, columns], layout, codes, scales }: BlockTensor,
  row: number,
  column: number,
): number {
  const blocks = blocksOfRow(columns, layout);
  let sum = 0;
  for (let term = 0; term < layout.terms; term++) {
    const block = (term * rows + row) * blocks + Math.floor(column / layout.blockSize);
    sum += scales[block]! * (codes[block * layout.blockSize + (column % layout.blockSize)]! - 128);
  }
  return sum;
}

/** The nearest bfloat16 towards zero. */
function bfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0]! &= 0xffff0000;
  return new Float32Array(bits.buffer)[0]!;
}

const values = fc.float({ min: -4, max: 4, noNaN: true });
const matrices = fc
  .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 150 }))
  .chain(([rows, columns]) =>
    fc.array(values, { minLength: rows * columns, maxLength: rows * columns }).map((list) => ({
      shape: [rows, columns],
      data: Float32Array.from(list),
    })),
  );

/** The largest magnitude of a weight's block. */
function largestAround(data: Float32Array, columns: number, index: number): number {
  const column = index % columns;
  const start = index - (column % TWO_TERMS.blockSize);
  const end = Math.min(start + TWO_TERMS.blockSize, index - column + columns);
  return data.subarray(start, end).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

describe("a matrix in two terms", () => {
  test("is off by 2^-14 of a block's largest at most", () => {
    fc.assert(
      fc.property(matrices, ({ shape, data }) => {
        const columns = shape[1]!;
        const matrix = inTwoTerms({ shape, data });
        data.forEach((value, index) => {
          const made = weightAt(matrix, Math.floor(index / columns), index % columns);
          // Scales below float32's smallest number are 0.
          const most = 2 ** -14 * largestAround(data, columns, index) + 2 ** -140;
          expect(Math.abs(made - value)).toBeLessThanOrEqual(most);
        });
      }),
    );
  });

  test("has bfloat16 numbers of a 64th of the largest and more as they are", () => {
    fc.assert(
      fc.property(matrices, ({ shape, data: list }) => {
        const columns = shape[1]!;
        const data = list.map((value) => (Math.abs(value) < 1e-30 ? 0 : bfloat16(value)));
        const matrix = inTwoTerms({ shape, data });
        data.forEach((value, index) => {
          if (Math.abs(value) < largestAround(data, columns, index) / 64) return;
          expect(weightAt(matrix, Math.floor(index / columns), index % columns)).toBe(value);
        });
      }),
    );
  });

  test("has zeros behind the ends of rows", () => {
    const { codes, scales } = inTwoTerms({ shape: [2, 65], data: new Float32Array(130).fill(1) });
    expect(codes).toHaveLength(2 * 2 * 2 * 64);
    expect(scales).toEqual(
      Float32Array.from([1, 1, 1, 1, 2 ** -8, 2 ** -8, 2 ** -8, 2 ** -8].map((s) => s / 64)),
    );
    for (const term of [0, 1]) {
      for (const row of [0, 1]) {
        const last = (term * 2 + row) * 128 + 65;
        expect(new Set(codes.subarray(last, last + 63))).toEqual(new Set([128]));
      }
    }
  });
});
