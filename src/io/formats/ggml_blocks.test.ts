import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { asBlocks, asFloats, BLOCK_TYPES, blockWeightAt, randomBlocks } from "../../../test/stored_blocks.ts";
import { emptyBlocks } from "../../tensor/blocks.ts";
import { ggmlBlockLayout, unpackGgmlBlocks } from "./ggml_blocks.ts";
import { GGML_TYPES } from "./ggml_types.ts";

describe.each(BLOCK_TYPES)("%s in blocks", (type) => {
  const { blockSize, blockBytes } = GGML_TYPES.get(type)!;

  test("has the weights that its reader gives, but for one rounding of an offset", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.string(), (count, seed) => {
        const bytes = randomBlocks(type, count * blockSize, seed);
        const shape = [1, count * blockSize] as const;
        const floats = asFloats(type, bytes, shape).data;
        const blocks = asBlocks(type, bytes, shape);
        floats.forEach((value, index) => {
          const offset = blocks.offsets?.[Math.floor(index / blocks.layout.blockSize)] ?? 0;
          const weight = blockWeightAt(blocks, index);
          // Half a unit in the last place of float32, of the offset here and of the weight there.
          const rounding = 2 ** -24 * (Math.abs(offset) + Math.abs(weight));
          expect(Math.abs(weight - value)).toBeLessThanOrEqual(rounding);
          if (blocks.offsets === null) expect(Math.fround(weight)).toBe(value === 0 ? weight : value);
        });
      }),
      { numRuns: 20 },
    );
  });

  test("goes where it belongs when a matrix comes in pieces", () => {
    const shape = [4, blockSize] as const;
    const bytes = randomBlocks(type, 4 * blockSize, "pieces");
    const target = emptyBlocks(shape, ggmlBlockLayout(type)!);
    for (const [from, to] of [
      [3, 4],
      [0, 1],
      [1, 3],
    ] as const) {
      const piece = bytes.subarray(from * blockBytes, to * blockBytes);
      unpackGgmlBlocks(type, piece, { target, first: from * blockSize });
    }
    expect(target).toEqual(asBlocks(type, bytes, shape));
  });
});

test("knows the types that can be read and hold several weights in a block, and no others", () => {
  const inBlocks = [...GGML_TYPES.values()].filter((type) => type.dequantize !== null && type.blockSize > 1);
  expect(inBlocks.map(({ name }) => name).sort()).toEqual([...BLOCK_TYPES].sort());
  for (const { name } of GGML_TYPES.values()) {
    expect(ggmlBlockLayout(name) !== undefined).toBe(BLOCK_TYPES.includes(name));
  }
});
