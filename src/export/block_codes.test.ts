import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomTensor } from "../../test/tiny_model.ts";
import { BLOCK_SIZE, type BlockCodes, BYTE_ZERO, blockCodes, blocksOf } from "./block_codes.ts";

/** (code - zero) * scale of one weight, read as contrib_ops.md of ONNX Runtime describes it. */
function decoded(
  { codes, scales, zeros }: BlockCodes,
  columns: number,
  [row, column]: readonly [number, number],
): number {
  const blocks = blocksOf(columns);
  const block = Math.floor(column / BLOCK_SIZE);
  const place = (row * blocks + block) * BLOCK_SIZE + (column % BLOCK_SIZE);
  const scale = scales[row * blocks + block]!;
  if (zeros === null) return (codes[place]! - BYTE_ZERO) * scale;
  const zero = nibble(zeros, row * Math.ceil(blocks / 2) * 2 + block);
  return (nibble(codes, place) - zero) * scale;
}

function nibble(bytes: Uint8Array, index: number): number {
  return (bytes[Math.floor(index / 2)]! >> (4 * (index % 2))) & 15;
}

describe("blockCodes", () => {
  test.each([
    [8, 1.01 / 255],
    [4, 1.6 / 15],
  ] as const)("of %i bits are within a step of the weights, whatever the shape", (bits, step) => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 100 }), (rows, columns) => {
        const matrix = randomTensor([rows, columns], { name: `${rows} ${columns}` });
        const coded = blockCodes(matrix, bits);
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            const value = matrix.data[row * columns + column]!;
            expect(Math.abs(decoded(coded, columns, [row, column]) - value)).toBeLessThan(step);
          }
        }
      }),
    );
  });

  test.each([4, 8] as const)("of %i bits keep what lies on the grid, zeros among it", (bits) => {
    const steps = Array.from({ length: 2 * BLOCK_SIZE }, (_, i) => (i < BLOCK_SIZE ? 0 : (i % 16) - 8));
    const matrix = { shape: [1, steps.length], data: Float32Array.from(steps, (step) => step * 0.25) };
    const coded = blockCodes(matrix, bits);
    for (const [column, value] of matrix.data.entries()) {
      expect(Math.abs(decoded(coded, steps.length, [0, column]) - value)).toBe(0);
    }
  });

  test("fills the last block of a row up with zeros", () => {
    const { codes, scales, zeros } = blockCodes({ shape: [1, 1], data: Float32Array.of(-1) }, 8);
    expect([codes.length, scales.length, zeros]).toEqual([BLOCK_SIZE, 1, null]);
    expect([...codes.subarray(0, 3)]).toEqual([0, BYTE_ZERO, BYTE_ZERO]);
  });
});
