import { expect, test } from "vitest";
import { lineThrough } from "./line.ts";

test("finds the line that points lie on, and says how far others are from it", () => {
  const exact = lineThrough([1, 2, 5].map((x) => ({ x, y: 3 + 2 * x })));
  expect(exact.intercept).toBeCloseTo(3, 12);
  expect(exact.slope).toBeCloseTo(2, 12);
  expect(exact.worst).toBeCloseTo(0, 12);
  // The least-squares line through these is y = 1/2.
  const { intercept, slope, worst } = lineThrough([
    { x: 0, y: 0 },
    { x: 1, y: 1 },
    { x: 2, y: 1 },
    { x: 3, y: 0 },
  ]);
  expect([intercept, slope, worst]).toEqual([0.5, 0, 1]);
});
