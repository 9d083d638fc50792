import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomStream } from "../tensor/random.ts";
import { kMeans } from "./kmeans.ts";

const clouds = fc.record({
  seed: fc.integer({ min: 0, max: 1e6 }),
  n: fc.integer({ min: 1, max: 60 }),
  dimensions: fc.integer({ min: 1, max: 4 }),
  k: fc.integer({ min: 1, max: 5 }),
});

const cloud = (seed: number, size: number): Float64Array =>
  Float64Array.from({ length: size }, randomStream(seed, "cloud"));

/** Inertia of an assignment about the means of its clusters. */
function inertiaOf(points: Float64Array, assignment: Uint8Array, dimensions: number): number {
  let total = 0;
  for (const cluster of new Set(assignment)) {
    const members = Array.from(assignment.keys()).filter((i) => assignment[i] === cluster);
    for (let j = 0; j < dimensions; j++) {
      const values = members.map((i) => points[i * dimensions + j]!);
      const centre = values.reduce((a, b) => a + b) / values.length;
      total += values.reduce((sum, x) => sum + (x - centre) ** 2, 0);
    }
  }
  return total;
}

describe("kMeans", () => {
  test("finds groups that are far apart", () => {
    const noise = cloud(1, 90);
    const points = noise.map((x, at) => x + 10 * (Math.floor(at / 2) % 3));
    const { assignment, inertia } = kMeans(points, {
      dimensions: 2,
      k: 3,
      restarts: 3,
      random: randomStream(0, "k"),
    });
    for (const [i, cluster] of assignment.entries()) expect(cluster).toBe(assignment[i % 3]);
    expect(new Set(assignment).size).toBe(3);
    expect(inertia).toBeCloseTo(inertiaOf(points, assignment, 2), 8);
  });

  test("of one cluster is the total dispersion", () => {
    const points = cloud(2, 40);
    const { inertia } = kMeans(points, { dimensions: 2, k: 1, restarts: 1, random: randomStream(0, "k") });
    expect(inertia).toBeCloseTo(inertiaOf(points, new Uint8Array(20), 2), 10);
  });

  test("repeats for one stream, stays below k, and never exceeds the total dispersion", () => {
    fc.assert(
      fc.property(clouds, ({ seed, n, dimensions, k }) => {
        const points = cloud(seed, n * dimensions);
        const run = () => kMeans(points, { dimensions, k, restarts: 2, random: randomStream(seed, "k") });
        const result = run();
        expect(run()).toEqual(result);
        expect(result.assignment.every((c) => c < k)).toBe(true);
        const total = inertiaOf(points, new Uint8Array(n), dimensions);
        expect(result.inertia).toBeLessThanOrEqual(total * (1 + 1e-9) + 1e-12);
        expect(inertiaOf(points, result.assignment, dimensions)).toBeLessThanOrEqual(
          result.inertia * (1 + 1e-9) + 1e-12,
        );
      }),
    );
  });

  test("keeps the best of its runs", () => {
    fc.assert(
      fc.property(clouds, ({ seed, n, dimensions, k }) => {
        const points = cloud(seed, n * dimensions);
        const random = randomStream(seed, "k");
        const runs = Array.from({ length: k === 1 ? 1 : 4 }, () =>
          kMeans(points, { dimensions, k, restarts: 1, random }),
        );
        const best = kMeans(points, { dimensions, k, restarts: 4, random: randomStream(seed, "k") });
        expect(best.inertia).toBe(Math.min(...runs.map(({ inertia }) => inertia)));
      }),
    );
  });

  test("seeds every place once where there are as many places as centres", () => {
    for (let seed = 0; seed < 20; seed++) {
      // Places that agree in one of their coordinates: all of them count in distances.
      const points = Float64Array.from({ length: 40 }, (_, at) => [0, 0, 0, 1, 1, 0, 1, 1][at % 8]!);
      const { inertia } = kMeans(points, {
        dimensions: 2,
        k: 4,
        restarts: 1,
        random: randomStream(seed, "k"),
      });
      expect(inertia).toBe(0);
    }
  });

  test("draws seeds with the squared distance to the nearest seed as weight", () => {
    // Corners of a rectangle. The seed after (0, 0) has weights 9, 13 and 4, and the last one leads to the worse split.
    const points = Float64Array.of(0, 0, 3, 0, 3, 2, 0, 2);
    const inertiaAt = (draw: number): number => {
      const draws = [0, draw, 0];
      return kMeans(points, { dimensions: 2, k: 2, restarts: 1, random: () => draws.shift()! }).inertia;
    };
    expect([0, 21.9 / 26, 22.1 / 26, 25.9 / 26].map(inertiaAt)).toEqual([4, 4, 9, 9]);
  });

  test("gives a point that two centres are equally near to the first of them", () => {
    const options = { dimensions: 1, k: 3, restarts: 1, random: randomStream(0, "k") };
    expect([...kMeans(new Float64Array(4).fill(2), options).assignment]).toEqual([0, 0, 0, 0]);
  });

  test("leaves centres empty when fewer points differ", () => {
    const { assignment, inertia } = kMeans(Float64Array.of(1, 1, 5, 5, 1), {
      dimensions: 1,
      k: 4,
      restarts: 3,
      random: randomStream(0, "k"),
    });
    expect(inertia).toBe(0);
    expect(new Set(assignment).size).toBe(2);
  });
});
