import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expectSameStats } from "../../test/stats_equality.ts";
import { tinySpec } from "../../test/tiny_model.ts";
import { randomActivations, statsOfActivations } from "../../test/tiny_stats.ts";
import { spacesOf } from "../model/spaces.ts";
import { type CalibrationStats, CHANNEL_SUMS, channelMeans, mergeStats, poolStats } from "./stats.ts";

const SPEC = tinySpec();

/** Statistics of random activations; sizes follow from the seed. */
const stats: fc.Arbitrary<CalibrationStats> = fc
  .record({
    seed: fc.nat(1000),
    sequences: fc.integer({ min: 1, max: 3 }),
    tokens: fc.integer({ min: 1, max: 4 }),
  })
  .map((options) => statsOfActivations(randomActivations(SPEC, options)));

describe("mergeStats", () => {
  test("is commutative, and associative up to rounding", () => {
    fc.assert(
      fc.property(stats, stats, stats, (a, b, c) => {
        expect(mergeStats(a, b)).toEqual(mergeStats(b, a));
        expectSameStats(mergeStats(mergeStats(a, b), c), mergeStats(a, mergeStats(b, c)), 1e-14);
      }),
      { numRuns: 30 },
    );
  });

  test("is the statistics of all sequences together", () => {
    const [a, b] = [1, 2].map((seed) => randomActivations(SPEC, { seed, sequences: seed }));
    const together = new Map([...a!].map(([id, sequences]) => [id, [...sequences, ...b!.get(id)!]] as const));
    expectSameStats(
      mergeStats(statsOfActivations(a!), statsOfActivations(b!)),
      statsOfActivations(together),
      1e-14,
    );
  });

  test("changes neither argument", () => {
    const [a, b] = [1, 2].map((seed) => statsOfActivations(randomActivations(SPEC, { seed })));
    const before = structuredClone([a, b]);
    mergeStats(a!, b!);
    expect([a, b]).toEqual(before);
  });

  test("refuses statistics of another model", () => {
    const own = statsOfActivations(randomActivations(SPEC));
    const wider = statsOfActivations(randomActivations(tinySpec({ layers: [{ neurons: 7 }, {}] })));
    const shorter = statsOfActivations(randomActivations(tinySpec({ layers: [{}] })));
    const wide = "statistics of layers.0.ffn: expected those of one model, got 6 and 7 channels";
    expect(() => mergeStats(own, wider)).toThrow(wide);
    const short = "statistics of layers.1.kv: expected those of one model, got 16 and 0 channels";
    expect(() => mergeStats(own, shorter)).toThrow(short);
    expect(() => mergeStats(shorter, own)).toThrow("got 0 and 16 channels");
  });
});

describe("poolStats", () => {
  test("counts sets by their weights and not by their sizes", () => {
    const small = statsOfActivations(randomActivations(SPEC, { seed: 1, sequences: 1 }));
    const large = statsOfActivations(randomActivations(SPEC, { seed: 2, sequences: 4, tokens: 9 }));
    const pooled = poolStats([small, large], [3, 1]);
    expect(pooled.tokens).toBeCloseTo(small.tokens + large.tokens, 10);
    expect(pooled.sequences).toBeCloseTo(5, 10);
    for (const [id, sums] of pooled.spaces) {
      for (const key of CHANNEL_SUMS) {
        for (const [j, sum] of sums[key].entries()) {
          const over = key === "sumMeanAbsSquared" ? "sequences" : "tokens";
          const mean = (set: CalibrationStats): number => set.spaces.get(id)![key][j]! / set[over];
          expect(sum / pooled[over]).toBeCloseTo(0.75 * mean(small) + 0.25 * mean(large), 10);
        }
      }
    }
  });

  test("does not see the scale of the weights, nor the order of the sets", () => {
    fc.assert(
      fc.property(stats, stats, fc.double({ min: 0.1, max: 10, noNaN: true }), (a, b, scale) => {
        const pooled = poolStats([a, b], [1, 2]);
        expectSameStats(poolStats([a, b], [scale, 2 * scale]), pooled, 1e-12);
        expectSameStats(poolStats([b, a], [2, 1]), pooled, 1e-12);
      }),
      { numRuns: 30 },
    );
  });

  test("leaves a single set as it is", () => {
    const own = statsOfActivations(randomActivations(SPEC));
    expect(poolStats([own], [7])).toEqual(own);
  });

  test("refuses no sets, weights that are none, and sets of nothing", () => {
    const own = statsOfActivations(randomActivations(SPEC));
    expect(() => poolStats([], [])).toThrow("statistics");
    for (const weights of [[1], [1, 0], [1, -1], [1, Number.NaN]]) {
      expect(() => poolStats([own, own], weights)).toThrow("weight");
    }
    for (const nothing of [
      { ...own, tokens: 0 },
      { ...own, sequences: 0 },
    ]) {
      const message = "calibration: expected at least one window of tokens, got none";
      expect(() => poolStats([own, nothing], [1, 1])).toThrow(message);
      expect(() => channelMeans(nothing, spacesOf(SPEC)[0]!)).toThrow(message);
    }
  });
});

describe("channelMeans", () => {
  test("refuses statistics of another model", () => {
    const [, , kv] = spacesOf(SPEC);
    const of = (layers: readonly { kvGroups: number }[]): CalibrationStats =>
      statsOfActivations(randomActivations(tinySpec({ layers })));
    const wider = of([{ kvGroups: 2 }, { kvGroups: 3 }]);
    const shorter = of([{ kvGroups: 2 }]);
    expect(() => channelMeans(wider, kv!)).toThrow("statistics of layers.1.kv: expected 16 channels, got 24");
    expect(() => channelMeans(shorter, kv!)).toThrow(
      "statistics of layers.1.kv: expected 16 channels, got none",
    );
  });
});
