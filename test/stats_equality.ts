/** Comparison of calibration statistics. */
import { expect } from "vitest";
import { type CalibrationStats, CHANNEL_SUMS } from "../src/calibrate/stats.ts";
import { maxAbs, maxDifference } from "./numbers.ts";

/** Expects all sums to be equal within `tolerance`, relative to the largest of their kind and space. */
export function expectSameStats(a: CalibrationStats, b: CalibrationStats, tolerance: number): void {
  expect(a.tokens).toBeCloseTo(b.tokens, 8);
  expect(a.sequences).toBeCloseTo(b.sequences, 8);
  expect([...a.spaces.keys()]).toEqual([...b.spaces.keys()]);
  for (const [id, sums] of a.spaces) {
    for (const key of CHANNEL_SUMS) {
      const other = b.spaces.get(id)![key];
      const difference = maxDifference(sums[key], other);
      expect(difference, `${id} ${key}`).toBeLessThanOrEqual(tolerance * maxAbs(other));
    }
  }
}
