import { describe, expect, test } from "vitest";
import { randomStream } from "../tensor/random.ts";
import { averageRanks, mean, populationDeviation } from "../tensor/statistics.ts";
import { BLOCK_WEIGHTS, behaviourPoints } from "./behaviour.ts";

const UNITS = 60;

function randomRanks(sets: number): Float64Array[] {
  return Array.from({ length: sets }, (_, d) =>
    averageRanks(Float64Array.from({ length: UNITS }, randomStream(d, "behaviour"))).map(
      (rank) => rank / (UNITS - 1),
    ),
  );
}

/** Column j of the points. */
function column({ points, dimensions }: ReturnType<typeof behaviourPoints>, j: number): Float64Array {
  return Float64Array.from({ length: points.length / dimensions }, (_, u) => points[u * dimensions + j]!);
}

describe("behaviourPoints", () => {
  test.each([
    [2, 1],
    [3, 2],
    [5, 3],
    [20, 3],
  ])("of %i noisy sets uses %i components", (sets, components) => {
    const behaviour = behaviourPoints(randomRanks(sets));
    expect(behaviour.components).toBe(components);
    expect(behaviour.dimensions).toBe(2 + components);
    expect(behaviour.explained).toBeGreaterThan(0);
    expect(behaviour.explained).toBeLessThanOrEqual(1);
  });

  test("gives every block its weight as variance", () => {
    const behaviour = behaviourPoints(randomRanks(5));
    const variance = (j: number): number => populationDeviation(column(behaviour, j)) ** 2;
    expect(variance(0)).toBeCloseTo(BLOCK_WEIGHTS.meanRank, 10);
    expect(variance(1)).toBeCloseTo(BLOCK_WEIGHTS.sigma, 10);
    expect(variance(2) + variance(3) + variance(4)).toBeCloseTo(BLOCK_WEIGHTS.profile, 10);
  });

  test("has mean rank and sigma up to a factor as its first two columns", () => {
    const ranks = randomRanks(4);
    const behaviour = behaviourPoints(ranks);
    const profile = (u: number): number[] => ranks.map((rho) => rho[u]!);
    const ratio = column(behaviour, 0)[0]! / mean(profile(0));
    const sigmaRatio = column(behaviour, 1)[0]! / populationDeviation(profile(0));
    for (let u = 0; u < UNITS; u++) {
      expect(column(behaviour, 0)[u]).toBeCloseTo(ratio * mean(profile(u)), 10);
      expect(column(behaviour, 1)[u]).toBeCloseTo(sigmaRatio * populationDeviation(profile(u)), 10);
    }
  });

  test("of two sets finds the one direction there is, exactly", () => {
    const { components, explained } = behaviourPoints(randomRanks(2));
    expect([components, explained]).toEqual([1, expect.closeTo(1, 12)]);
  });

  test("of equal or constant sets has no profile and no NaN", () => {
    const [rho] = randomRanks(1);
    for (const ranks of [[rho!, rho!, rho!], [rho!], [new Float64Array(UNITS).fill(0.5)]]) {
      const behaviour = behaviourPoints(ranks);
      expect([behaviour.components, behaviour.explained]).toEqual([0, 1]);
      expect(behaviour.points.every(Number.isFinite)).toBe(true);
      expect(column(behaviour, 1).every((x) => x === 0)).toBe(true);
    }
  });
});
