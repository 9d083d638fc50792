import { describe, expect, test } from "vitest";
import { randomStream } from "./random.ts";

const draw = (seed: number, label: string, n = 2000): number[] => {
  const next = randomStream(seed, label);
  return Array.from({ length: n }, next);
};

describe("randomStream", () => {
  test("repeats for one seed and label, and differs for another", () => {
    expect(draw(1, "a")).toEqual(draw(1, "a"));
    expect(draw(1, "a")).not.toEqual(draw(2, "a"));
    expect(draw(1, "a")).not.toEqual(draw(1, "b"));
  });

  test("is uniform in [0, 1)", () => {
    const values = draw(5, "uniform");
    expect(values.every((x) => x >= 0 && x < 1)).toBe(true);
    expect(values.reduce((sum, x) => sum + x, 0) / values.length).toBeCloseTo(0.5, 1);
  });

  test("has first numbers that are uniform over neighbouring labels and seeds", () => {
    for (const first of [(i: number) => draw(0, `layers.${i}`, 1)[0]!, (i: number) => draw(i, "x", 1)[0]!]) {
      const values = Array.from({ length: 2000 }, (_, i) => first(i));
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
      expect(mean).toBeCloseTo(0.5, 1);
      expect(variance).toBeCloseTo(1 / 12, 2);
    }
  });
});
