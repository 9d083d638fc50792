import { expect, test } from "vitest";
import { stepTicks, ticksAround } from "./ticks.ts";

test("numbers of a vertical axis are round and lie around the values", () => {
  expect(ticksAround(7.62, 12.13, 4)).toEqual({ at: [6, 8, 10, 12, 14], digits: 0 });
  expect(ticksAround(0.012, 0.341, 4)).toEqual({ at: [0, 0.1, 0.2, 0.3, 0.4], digits: 1 });
  expect(ticksAround(2.51, 2.53, 4)).toEqual({ at: [2.51, 2.515, 2.52, 2.525, 2.53], digits: 3 });
  expect(ticksAround(3, 3, 4)).toEqual({ at: [2.6, 2.8, 3, 3.2, 3.4], digits: 1 });
  expect(ticksAround(0, 0, 4).at).toContain(0);
  for (const [min, max] of [
    [0.1, 0.11],
    [9, 1e7],
    [1e-9, 2e-9],
    [99.9, 100.1],
    [12, 12.000000000000002],
    [2.5, 2.5000000000000004],
    [1e-25, 2e-25],
  ] as const) {
    const { at } = ticksAround(min, max, 4);
    expect(new Set(at).size).toBe(at.length);
    expect(at.at(-1)! - at[0]!).toBeGreaterThan(0);
    expect(at.length).toBeLessThanOrEqual(5);
    expect(at[0]).toBeLessThanOrEqual(min);
    expect(at.at(-1)).toBeGreaterThanOrEqual(max);
  }
});

test("steps of a horizontal axis are whole and begin where the run does", () => {
  expect(stepTicks(2, 8, 8)).toEqual([2, 3, 4, 5, 6, 7, 8]);
  expect(stepTicks(5, 5, 8)).toEqual([5]);
  expect(stepTicks(1, 300, 8)).toEqual([1, 50, 100, 150, 200, 250, 300]);
  expect(stepTicks(58, 301, 8)).toEqual([58, 100, 150, 200, 250, 301]);
});
