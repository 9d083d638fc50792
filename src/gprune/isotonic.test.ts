import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isotonic } from "./isotonic.ts";

const sequences = fc
  .array(fc.double({ min: -100, max: 100, noNaN: true }), { maxLength: 25 })
  .map((values) => Float64Array.from(values));

/** y_i = min over b >= i of max over a <= i of the mean of x_a..x_b. */
function minMax(values: Float64Array): number[] {
  const average = (a: number, b: number): number =>
    values.subarray(a, b + 1).reduce((sum, value) => sum + value, 0) / (b + 1 - a);
  return Array.from(values, (_, i) => {
    let smallest = Number.POSITIVE_INFINITY;
    for (let b = i; b < values.length; b++) {
      let largest = Number.NEGATIVE_INFINITY;
      for (let a = 0; a <= i; a++) largest = Math.max(largest, average(a, b));
      smallest = Math.min(smallest, largest);
    }
    return smallest;
  });
}

describe("isotonic", () => {
  test("pools violators", () => {
    expect([...isotonic(Float64Array.of(1, 3, 2, 4, 0))]).toEqual([1, 2.25, 2.25, 2.25, 2.25]);
    expect([...isotonic(new Float64Array(0))]).toEqual([]);
  });

  test("equals the min-max formula", () => {
    fc.assert(
      fc.property(sequences, (values) => {
        const fit = isotonic(values);
        for (const [i, expected] of minMax(values).entries()) expect(fit[i]).toBeCloseTo(expected, 8);
      }),
    );
  });

  test("never decreases, and leaves alone what does not", () => {
    fc.assert(
      fc.property(sequences, (values) => {
        const fit = isotonic(values);
        expect(fit.every((y, i) => i === 0 || fit[i - 1]! <= y)).toBe(true);
        expect(isotonic(fit)).toEqual(fit);
      }),
    );
  });

  test("is linear in time", () => {
    const n = 200_000;
    const falling = Float64Array.from({ length: n }, (_, i) => n - i);
    expect(isotonic(falling)[0]).toBeCloseTo((n + 1) / 2, 6);
  });

  test("refuses what is not finite", () => {
    expect(() => isotonic(Float64Array.of(1, Number.NaN))).toThrow("internal: isotonic: value 1 is NaN");
  });
});
