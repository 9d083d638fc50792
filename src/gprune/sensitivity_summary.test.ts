import { describe, expect, test } from "vitest";
import type { Space } from "../model/spaces.ts";
import { unitSensitivity } from "./sensitivity.ts";
import { RANK_BINS, SIGMA_BINS, summariseSensitivity } from "./sensitivity_summary.ts";

const space: Space = {
  id: "layers.0.ffn",
  kind: "ffn",
  layer: 0,
  units: 4,
  parts: 1,
  unitChannels: 1,
  unitParameters: 12,
};
const sensitivity = unitSensitivity(
  new Map([
    ["wiki", Float64Array.of(1, 2, 3, 4)],
    ["code", Float64Array.of(4, 2, 3, 1)],
  ]),
);
const summary = summariseSensitivity([space], new Map([[space.id, sensitivity]]));
const [row] = summary.spaces;

describe("summariseSensitivity", () => {
  test("names the sets and the space", () => {
    expect(summary.sets).toEqual(["code", "wiki"]);
    expect(row).toMatchObject({ space: "layers.0.ffn", kind: "ffn", layer: 0, units: 4 });
  });

  test("gives mean and quantiles of sigma, and W", () => {
    expect(row!.meanSigma).toBeCloseTo(0.25, 12);
    expect(row!.kendallW).toBe(sensitivity.kendallW);
    expect(row!.sigmaQuantiles).toEqual({ p10: 0, p25: 0, p50: 0.25, p75: 0.5, p90: 0.5, max: 0.5 });
  });

  test("bins sigma by mean rank, null where no unit is", () => {
    const expected = Array.from({ length: RANK_BINS }, (): number | null => null);
    expected[3] = 0; // unit 1, mean rank 1/3
    expected[5] = 0.5; // units 0 and 3, mean rank 1/2
    expected[6] = 0; // unit 2, mean rank 2/3
    expect(row!.sigmaByRank).toEqual(expected);
  });

  test("counts every unit once in the histogram, the largest sigma included", () => {
    expect(row!.sigmaHistogram).toHaveLength(SIGMA_BINS);
    expect(row!.sigmaHistogram[0]).toBe(2);
    expect(row!.sigmaHistogram[SIGMA_BINS - 1]).toBe(2);
  });

  test("is plain JSON", () => {
    expect(JSON.parse(JSON.stringify(summary))).toEqual(summary);
  });

  test("refuses a space it has no sensitivity of", () => {
    expect(() => summariseSensitivity([space], new Map())).toThrow("internal: sensitivity of layers.0.ffn");
  });
});
