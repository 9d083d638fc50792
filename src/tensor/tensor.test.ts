import fc from "fast-check";
import { expect, test } from "vitest";
import { commonDType, elementCount, gatherBlocks } from "./tensor.ts";

test("gathering blocks equals picking every element, whatever the axis and the size of a run", () => {
  const cases = fc.record({
    outer: fc.integer({ min: 1, max: 3 }),
    units: fc.integer({ min: 1, max: 5 }),
    blockSize: fc.integer({ min: 1, max: 4 }),
    inner: fc.integer({ min: 1, max: 40 }),
    draws: fc.array(fc.nat(99), { maxLength: 6 }),
  });
  fc.assert(
    fc.property(cases, ({ outer, units, blockSize, inner, draws }) => {
      const shape = [outer, units * blockSize, inner];
      const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => i);
      const keep = draws.map((draw) => draw % units);
      const result = gatherBlocks({ shape, data }, 1, { keep, blockSize });
      const indices = keep.flatMap((unit) =>
        Array.from({ length: blockSize }, (_, i) => unit * blockSize + i),
      );
      expect(result.shape).toEqual([outer, indices.length, inner]);
      const expected = Array.from({ length: outer }, (_, o) =>
        indices.map((index) => {
          const start = (o * units * blockSize + index) * inner;
          return Array.from({ length: inner }, (_, i) => start + i);
        }),
      );
      expect([...result.data]).toEqual(expected.flat(2));
    }),
  );
});

test("the most common dtype is that of most elements", () => {
  const info = (dtype: string, size: number) => ({ dtype, shape: [size] });
  expect(commonDType([info("F16", 2), info("BF16", 3), info("F16", 2)])).toBe("F16");
  expect(commonDType([info("F16", 2), info("BF16", 5), info("F16", 2)])).toBe("BF16");
  expect(commonDType([])).toBe("F32");
});
