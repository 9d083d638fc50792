import { expect, test } from "vitest";
import { erf } from "../../test/numbers.ts";
import { normalQuantile, normalShare } from "./normal_distribution.ts";

test.each([-4, -1.5, -0.2, 0, 0.3, 1, 3.5])("the share below %f follows from the error function", (x) => {
  expect(normalShare(x)).toBeCloseTo((1 + erf(x / Math.SQRT2)) / 2, 12);
});

test("nothing is below minus infinity, and everything below infinity", () => {
  expect([Number.NEGATIVE_INFINITY, -50, 50, Number.POSITIVE_INFINITY].map(normalShare)).toEqual([
    0, 0, 1, 1,
  ]);
});

test.each([0.001, 0.2, 0.5, 0.7, 0.95, 0.999])("a share of %f is below its quantile", (share) => {
  expect(normalShare(normalQuantile(share))).toBeCloseTo(share, 12);
});

test("the quantile of 95 % is that of modeling_gemma3n.py", () => {
  expect(Math.fround(normalQuantile(0.95))).toBe(Math.fround(1.6448536269514722));
});

test("shares near 0 and 1 have quantiles", () => {
  expect(normalQuantile(1 - 1e-9)).toBeCloseTo(5.997807, 5);
  expect(normalQuantile(1e-9)).toBeCloseTo(-5.997807, 5);
});
