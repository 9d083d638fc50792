import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomStream } from "../tensor/random.ts";
import type { UnitModules } from "./modules.ts";
import { judgeModules, type ModuleVerdict, type SplitScores } from "./reliability.ts";

const UNITS = 400;

/** Modules without their description, which judging does not need. */
function modulesFrom(assignment: readonly number[]): UnitModules {
  const count = Math.max(...assignment) + 1;
  const modules = Array.from({ length: count }, (_, number) => ({
    size: assignment.filter((module) => module === number).length,
    meanSigma: 0,
    sigmaRange: [0, 0] as const,
    meanRank: 0.5,
    rankRange: [0, 1] as const,
  }));
  return {
    spaceId: "layers.0.ffn",
    assignment,
    modules,
    evidence: [],
    components: 0,
    explained: 1,
    reason: "",
  };
}

const whole = modulesFrom(new Array<number>(UNITS).fill(0));
/** Units 0..199 and 200..399. */
const halved = modulesFrom(Array.from({ length: UNITS }, (_, u) => (u < UNITS / 2 ? 0 : 1)));

function normals(seed: number, label: string): Float64Array {
  const uniform = randomStream(seed, label);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return Float64Array.from({ length: UNITS }, normal);
}

/** Scores of a set of several windows. */
type HalvedScores = SplitScores & { readonly halves: readonly [Float64Array, Float64Array] };

/** Sets whose log score is signal(u, d), each half with its own noise. */
function splitSets(
  sets: number,
  signal: (u: number, d: number) => number,
  noise: number,
): Map<string, HalvedScores> {
  return new Map(
    Array.from({ length: sets }, (_, d) => {
      const half = (name: string): Float64Array =>
        normals(d, name).map((x, u) => Math.exp(signal(u, d) + noise * x));
      const halves = [half("a"), half("b")] as const;
      return [`set${d}`, { whole: halves[0].map((x, u) => (x + halves[1][u]!) / 2), halves }];
    }),
  );
}

const shared = normals(1, "signal");
const own = Array.from({ length: 20 }, (_, d) => normals(d, "own"));
const generalises = (u: number): number => shared[u]!;
const independent = (u: number, d: number): number => own[d]![u]!;
/** Units 0..199 generalise and score high, units 200..399 are independent and score low. */
const mixed = (u: number, d: number): number => (u < UNITS / 2 ? 2 + shared[u]! : own[d]![u]! - 2);

describe("judgeModules", () => {
  test("measures r near 1 where scores generalise, and keeps them", () => {
    const [verdict] = judgeModules(whole, splitSets(5, generalises, 0.1));
    expect(verdict!.r).toBeGreaterThan(0.97);
    expect(verdict!.splitHalf).toBeGreaterThan(0.97);
    expect(verdict!.verdict).toBe("activation");
    expect(verdict!.perSet.map(({ set }) => set)).toEqual(["set0", "set1", "set2", "set3", "set4"]);
  });

  test("measures r near 0 where every set ranks for itself", () => {
    const [verdict] = judgeModules(whole, splitSets(5, independent, 0.1));
    expect(Math.abs(verdict!.r!)).toBeLessThan(0.15);
    expect(verdict!.splitHalf).toBeGreaterThan(0.97);
  });

  test("raises r for the noise of small sets, to about what large ones give", () => {
    const [noisy] = judgeModules(whole, splitSets(5, generalises, 0.8));
    const [large] = judgeModules(whole, splitSets(5, generalises, 0.01));
    for (const { observed, corrected, own: o, others } of noisy!.perSet) {
      expect(corrected).toBeGreaterThan(observed! + 0.02);
      expect(corrected).toBeCloseTo(Math.min(1, observed! / Math.sqrt(o * others!)), 10);
    }
    expect(Math.abs(noisy!.r! - large!.r!)).toBeLessThan(0.05);
  });

  test("never more than doubles, so pure noise stays near 0", () => {
    const [verdict] = judgeModules(
      whole,
      splitSets(5, () => 0, 1),
    );
    expect(Math.abs(verdict!.r!)).toBeLessThan(0.25);
    for (const { observed, corrected } of verdict!.perSet) {
      expect(Math.abs(corrected)).toBeLessThanOrEqual(2 * Math.abs(observed!) + 1e-12);
    }
  });

  test("gives up the module that is unreliable and low, and says why", () => {
    const [good, bad] = judgeModules(halved, splitSets(4, mixed, 0.1));
    expect(good).toMatchObject({ module: 0, verdict: "activation" });
    expect(bad).toMatchObject({ module: 1, verdict: "fallback" });
    expect(good!.magnitude).toBeGreaterThan(0.7);
    expect(bad!.magnitude).toBeLessThan(0.3);
    expect(good!.reason).toMatch(
      /^Activation scores: scores from the other sets .* r = [01]\.\d\d, at least 0\.5\.$/,
    );
    expect(bad!.reason).toMatch(
      /^Activation-independent scores: .* below 0\.5, and the units score low \(quantile 0\.\d\d, below 0\.5\)\.$/,
    );
  });

  test("keeps an unreliable module that scores high", () => {
    const lifted = (u: number, d: number): number => (u < UNITS / 2 ? shared[u]! - 2 : own[d]![u]! + 2);
    const [, high] = judgeModules(halved, splitSets(4, lifted, 0.1));
    expect(high!.r).toBeLessThan(0.5);
    expect(high).toMatchObject({ verdict: "activation", reason: expect.stringContaining("score high") });
  });

  test("gives a space of one module magnitude 1/2 exactly, so that it never falls back", () => {
    for (const units of [3, 7, 400]) {
      const sets = new Map(
        [...splitSets(3, independent, 0.1)].map(
          ([
            set,
            {
              whole: w,
              halves: [a, b],
            },
          ]) => {
            const cut = (x: Float64Array): Float64Array => x.slice(0, units);
            return [set, { whole: cut(w), halves: [cut(a), cut(b)] as const }];
          },
        ),
      );
      const [verdict] = judgeModules(modulesFrom(new Array<number>(units).fill(0)), sets);
      expect(verdict).toMatchObject({ magnitude: 0.5, verdict: "activation" });
    }
  });

  test("depends neither on the order of sets nor on that of halves", () => {
    const sets = splitSets(4, mixed, 0.3);
    const turned = [...sets].reverse().map(
      ([
        set,
        {
          whole: w,
          halves: [a, b],
        },
      ]) => {
        return [set, { whole: w, halves: [b, a] as const }] as const;
      },
    );
    expect(judgeModules(halved, new Map(turned))).toEqual(judgeModules(halved, sets));
  });

  test("of one set is its split-half reliability, stepped up", () => {
    const [verdict] = judgeModules(whole, splitSets(1, generalises, 0.5));
    const [row] = verdict!.perSet;
    expect(row).toMatchObject({ observed: null, others: null, corrected: row!.own });
    expect(verdict!.r).toBe(row!.own);
    expect(verdict!.r).toBeGreaterThan(0.8);
    expect(verdict!.reason).toContain("scores from one half of the set predict those of the other half");
  });

  test("takes no set of one window for reliable in itself", () => {
    const sets = splitSets(4, generalises, 0.8);
    const single = (...names: readonly string[]): Map<string, SplitScores> =>
      new Map(
        Array.from(sets, ([set, scores]) => [
          set,
          names.includes(set) ? { ...scores, halves: null } : scores,
        ]),
      );
    const judged = (scores: ReadonlyMap<string, SplitScores>): ModuleVerdict =>
      judgeModules(whole, scores)[0]!;
    const only = (...names: readonly string[]): Map<string, SplitScores> =>
      new Map(names.map((name) => [name, sets.get(name)!]));
    // Sets with halves are judged as if there were no others.
    expect(judged(single("set1", "set3"))).toMatchObject({
      r: judged(only("set0", "set2")).r,
      perSet: judged(only("set0", "set2")).perSet,
    });
    const one = judged(single("set0", "set1", "set3"));
    expect(one).toMatchObject({ r: judged(only("set2")).r, perSet: [{ set: "set2", observed: null }] });
    expect(one.reason).toContain(
      "scores from one half of the only set with several windows predict those of the other half",
    );
    const none = judged(single(...sets.keys()));
    expect(none).toMatchObject({ r: null, splitHalf: null, perSet: [], verdict: "activation" });
    expect(none.reason).toBe("Activation scores: with one window per set, reliability cannot be measured.");
  });

  test("does not measure fewer than three units", () => {
    const small = modulesFrom([0, 0, 1, 2, 2, 2]);
    const sets = new Map(
      [...splitSets(3, independent, 0.1)].map(
        ([
          set,
          {
            whole: w,
            halves: [a, b],
          },
        ]) => {
          const cut = (x: Float64Array): Float64Array => x.slice(0, 6);
          return [set, { whole: cut(w), halves: [cut(a), cut(b)] as const }];
        },
      ),
    );
    const [two, one, three] = judgeModules(small, sets);
    for (const verdict of [two, one]) {
      expect(verdict).toMatchObject({ r: null, splitHalf: null, perSet: [], verdict: "activation" });
    }
    expect(two!.reason).toContain("2 units are too few");
    expect(one!.reason).toContain("one unit is too few");
    expect(three!.r).not.toBeNull();
  });

  test("falls back for units that never fire", () => {
    const dead = (values: Float64Array): Float64Array => values.map((x, u) => (u < UNITS / 2 ? x : 0));
    const sets = new Map(
      [...splitSets(3, generalises, 0.1)].map(
        ([
          set,
          {
            whole: w,
            halves: [a, b],
          },
        ]) => [set, { whole: dead(w), halves: [dead(a), dead(b)] as const }],
      ),
    );
    const [, silent] = judgeModules(halved, sets);
    expect(silent).toMatchObject({ r: 0, magnitude: 0.25, verdict: "fallback" });
  });

  test("is finite and plain JSON for any scores", () => {
    const values = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 8, maxLength: 8 });
    const sets = fc.array(fc.tuple(values, values, values), { minLength: 1, maxLength: 20 });
    const modules = modulesFrom([0, 0, 0, 1, 1, 1, 1, 2]);
    fc.assert(
      fc.property(sets, (rows) => {
        const given = rows.map(([w, a, b], d): [string, SplitScores] => [
          `${d}`,
          { whole: Float64Array.from(w), halves: [Float64Array.from(a), Float64Array.from(b)] },
        ]);
        const verdicts: readonly ModuleVerdict[] = judgeModules(modules, new Map(given));
        expect(JSON.parse(JSON.stringify(verdicts))).toEqual(verdicts);
        for (const { r, magnitude } of verdicts) {
          if (r !== null) expect(Math.abs(r)).toBeLessThanOrEqual(1);
          expect(magnitude).toBeGreaterThan(0);
          expect(magnitude).toBeLessThan(1);
        }
      }),
    );
  });

  test("refuses no sets, scores of another length and NaN", () => {
    expect(() => judgeModules(whole, new Map())).toThrow("internal: reliability of layers.0.ffn");
    const short = Float64Array.of(1);
    expect(() => judgeModules(whole, new Map([["x", { whole: short, halves: [short, short] }]]))).toThrow(
      "internal: scores of layers.0.ffn, set x: expected 400 units, got 1",
    );
    const sets = splitSets(2, generalises, 0.1);
    sets.get("set1")!.halves[1][4] = Number.NaN;
    expect(() => judgeModules(whole, sets)).toThrow("scores of layers.0.ffn, set set1: expected finite");
  });
});
