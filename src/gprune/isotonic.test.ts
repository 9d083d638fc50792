import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isotonic } from "./isotonic.ts";

const points = fc.array(
  fc.record({
    value: fc.double({ min: -100, max: 100, noNaN: true }),
    weight: fc.double({ min: 0.01, max: 50, noNaN: true }),
  }),
  { maxLength: 25 },
);

/** y_i = min over b >= i of max over a <= i of the weighted mean of x_a..x_b. */
function minMax(values: Float64Array, weights: Float64Array): number[] {
  const average = (a: number, b: number): number => {
    let sum = 0;
    let mass = 0;
    for (let j = a; j <= b; j++) {
      sum += values[j]! * weights[j]!;
      mass += weights[j]!;
    }
    return sum / mass;
  };
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
  it("pools violators", () => {
    expect([...isotonic(Float64Array.of(1, 3, 2, 4, 0))]).toEqual([1, 2.25, 2.25, 2.25, 2.25]);
    expect([...isotonic(Float64Array.of(4, 1), Float64Array.of(1, 2))]).toEqual([2, 2]);
    expect([...isotonic(new Float64Array(0))]).toEqual([]);
  });

  it("equals the min-max formula", () => {
    fc.assert(
      fc.property(points, (rows) => {
        const values = Float64Array.from(rows, ({ value }) => value);
        const weights = Float64Array.from(rows, ({ weight }) => weight);
        const fit = isotonic(values, weights);
        for (const [i, expected] of minMax(values, weights).entries())
          expect(fit[i]).toBeCloseTo(expected, 8);
      }),
    );
  });

  it("never decreases, and leaves alone what does not", () => {
    fc.assert(
      fc.property(points, (rows) => {
        const fit = isotonic(Float64Array.from(rows, ({ value }) => value));
        expect(fit.every((y, i) => i === 0 || fit[i - 1]! <= y)).toBe(true);
        expect(isotonic(fit)).toEqual(fit);
      }),
    );
  });

  it("is linear in time", () => {
    const n = 200_000;
    const falling = Float64Array.from({ length: n }, (_, i) => n - i);
    expect(isotonic(falling)[0]).toBeCloseTo((n + 1) / 2, 6);
  });

  it.each([
    ["a value that is not a number", Float64Array.of(Number.NaN), undefined],
    ["a weight of zero", Float64Array.of(1), Float64Array.of(0)],
    ["weights of another length", Float64Array.of(1), Float64Array.of(1, 1)],
  ])("refuses %s", (_, values, weights) => {
    expect(() => isotonic(values, weights)).toThrow("internal: isotonic");
  });
});
