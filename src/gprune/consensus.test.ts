import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { spacesOf } from "../model/spaces.ts";
import { randomStream } from "../tensor/random.ts";
import { analyseUnits, type SpaceAnalysis } from "./analysis.ts";
import { consensusOf } from "./consensus.ts";
import { pooledMarginals, type SetMarginals } from "./marginals.ts";

const spec = tinySpec({ layers: [{ neurons: 400, kvGroups: 4 }, { neurons: 80 }, { neurons: 20 }] });
const spaces = spacesOf(spec);

/** Analyses in which every space is one module, its units in index order. */
const analyses: readonly SpaceAnalysis[] = (() => {
  const scores = new Map(
    spaces.map(({ id, units, unitChannels }) => {
      return [id, Float64Array.from({ length: units * unitChannels }, (_, j) => j)];
    }),
  );
  const sets = new Map([["a", { whole: scores, halves: [scores, scores] as const }]]);
  return analyseUnits({ spaces, sets, pooled: scores, fallback: scores, seed: 0, maxModules: 1 });
})();

/** Marginals of a set in which unit u of n costs `value(u, n)` times a random factor of up to e^noise. */
function marginalsOf(
  value: (unit: number, units: number) => number,
  { weight = 1, noise = 0, seed = "" }: { weight?: number; noise?: number; seed?: string } = {},
): SetMarginals {
  const marginals = spaces.map(({ id, units }) => {
    const random = randomStream(5, `${seed}${id}`);
    const values = Float64Array.from(
      { length: units },
      (_, u) => value(u, units) * Math.exp(noise * random()),
    );
    return [id, values] as const;
  });
  return { weight, marginals: new Map(marginals) };
}

const rising = (unit: number): number => 1 + unit;
const falling = (unit: number, units: number): number => units - unit;
const seeds = ["a", "b", "c", "d", "e"];
const alphasOf = (sets: readonly SetMarginals[]): readonly number[] =>
  [...consensusOf(sets, { analyses, keep: {} }).values()].flat();

describe("consensus", () => {
  test("is none where the order is right, nor where sets contradict each other about units", () => {
    for (const noise of [0, 3]) {
      const alphas = alphasOf(seeds.map((seed) => marginalsOf(rising, { noise, seed })));
      // 400 and 80 units of their own; few units share one answer.
      for (const alpha of [alphas[1]!, alphas[3]!]) expect(alpha).toBeLessThan(0.3);
    }
  });

  test("is full where all say the same that the order does not, and less the noisier they are", () => {
    const [quiet, loud, louder] = [0, 2, 20].map((noise) =>
      alphasOf(seeds.map((seed) => marginalsOf(falling, { noise, seed }))),
    );
    for (const [place, alpha] of quiet!.entries()) {
      expect(alpha).toBeCloseTo(1, 9);
      expect(loud![place]).toBeLessThanOrEqual(alpha);
    }
    expect(loud![1]).toBeGreaterThan(louder![1]!);
    expect(loud![1]).toBeGreaterThan(0.5);
    expect(louder![1]).toBeLessThan(0.5);
  });

  test("is full of sets that say the same, however unequal their weights", () => {
    for (const weights of [
      [2, 1],
      [55, 1],
      [0.6, 0.1, 0.1, 0.1, 0.1],
    ]) {
      for (const alpha of alphasOf(weights.map((weight) => marginalsOf(falling, { weight })))) {
        expect(alpha).toBeCloseTo(1, 9);
      }
    }
  });

  test("is no accident of rounding where one set is nearly all there is", () => {
    for (const rest of [1e-6, 1e-15, 1.2e-16, 1e-16, 1e-17, 1e-40]) {
      const unlike = seeds.map((seed) => {
        const sets = [1 - rest, rest].map((weight, d) =>
          marginalsOf(rising, { weight, noise: 9, seed: `${seed}${d}` }),
        );
        return alphasOf(sets)[1]!;
      });
      expect(Math.max(...unlike)).toBeLessThan(0.3);
      const alike = [1 - rest, rest].map((weight) => marginalsOf(falling, { weight }));
      for (const alpha of alphasOf(alike)) expect(alpha).toBeCloseTo(1, 9);
    }
  });

  test("is none of a single set, which agrees with itself, nor of one that is all there is", () => {
    expect(new Set(alphasOf([marginalsOf(falling)]))).toEqual(new Set([0]));
    expect(new Set(alphasOf([marginalsOf(falling), marginalsOf(falling, { weight: 0 })]))).toEqual(
      new Set([0]),
    );
  });

  test("is one answer for all small modules of a kind", () => {
    const alphas = alphasOf(["a", "b"].map((seed) => marginalsOf(falling, { noise: 4, seed })));
    const kv = spaces.flatMap(({ kind }, index) => (kind === "kv" ? [alphas[index]!] : []));
    expect(new Set(kv).size).toBe(1);
    expect(alphas[1]).not.toBe(alphas[3]);
  });

  test("lies in 0..1 whatever the marginals, even where they are all zero", () => {
    const weight = fc.double({ min: 0.01, max: 1, noNaN: true });
    const noise = fc.double({ min: 0, max: 300, noNaN: true });
    const set = fc.record({ weight, noise, zero: fc.boolean(), seed: fc.string() });
    fc.assert(
      fc.property(fc.array(set, { minLength: 1, maxLength: 4 }), (chances) => {
        const sets = chances.map(({ zero, ...chance }) => marginalsOf(zero ? () => 0 : falling, chance));
        for (const alpha of alphasOf(sets)) {
          expect(alpha).toBeGreaterThanOrEqual(0);
          expect(alpha).toBeLessThanOrEqual(1);
        }
      }),
      { numRuns: 30 },
    );
  });
});

test("pools marginals by weight", () => {
  const pooled = pooledMarginals([
    marginalsOf(() => 2, { weight: 0.25 }),
    marginalsOf(() => 4, { weight: 0.75 }),
  ]);
  for (const values of pooled.values()) expect(new Set(values)).toEqual(new Set([3.5]));
});
