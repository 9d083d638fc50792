import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomStream } from "../tensor/random.ts";
import { behaviourPoints } from "./behaviour.ts";
import { behaviourModules, type ModuleOptions, type UnitModules } from "./modules.ts";
import { unitSensitivity } from "./sensitivity.ts";

/** Score of a unit on set d, from its importance t and fresh standard normal noise. */
type Behaviour = (unit: number, d: number, chance: { readonly t: number; readonly noise: number }) => number;

interface Planted {
  readonly units: number;
  readonly sets: number;
  readonly seed: number;
}

function scoresOf(behaviour: Behaviour, { units, sets, seed }: Planted): Map<string, Float64Array> {
  const uniform = randomStream(seed, "planted");
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const t = Float64Array.from({ length: units }, normal);
  return new Map(
    Array.from({ length: sets }, (_, d) => [
      `set${String(d).padStart(2, "0")}`,
      t.map((value, u) => behaviour(u, d, { t: value, noise: normal() })),
    ]),
  );
}

const modulesOf = (
  scores: ReadonlyMap<string, Float64Array>,
  options: Partial<ModuleOptions> = {},
): UnitModules =>
  behaviourModules("layers.0.ffn", unitSensitivity(scores), { seed: 0, maxModules: 4, ...options });

/** Units 3i keep their rank, units 3i+1 matter on set 0 only, units 3i+2 everywhere but on set 0. */
const three: Behaviour = (u, d, { t, noise }) => {
  if (u % 3 === 0) return t + 0.05 * noise;
  return (u % 3 === 1) === (d === 0) ? 4 + 0.1 * noise : -4 + 0.1 * noise;
};

/** All units behave alike. */
const alike: Record<string, Behaviour> = {
  "independent noise": (_, __, { noise }) => noise,
  "one importance with little noise": (_, __, { t, noise }) => t + 0.3 * noise,
  "one importance with much noise": (_, __, { t, noise }) => t + noise,
  "sets of unequal noise": (_, d, { t, noise }) => t + (d === 0 ? 1.5 : 0.3) * noise,
  "two groups of sets": (u, d, { t, noise }) => (d < 2 ? t : ((u * 7919) % 997) / 400) + 0.2 * noise,
  "many units that never fire": (_, __, { t, noise }) => Math.max(0, t + 0.5 * noise),
};

const planted = { units: 600, sets: 5, seed: 1 };

describe("behaviourModules", () => {
  test("separates three planted behaviours", () => {
    const { assignment, modules, evidence, reason } = modulesOf(scoresOf(three, planted));
    expect(modules).toHaveLength(3);
    const [here, alike] = [evidence[2]!.explained, evidence[2]!.expected].map((x) => Math.round(100 * x));
    expect(reason).toContain(
      `3 modules explain ${here} % of the variance of the units' ranks, compared with ${alike} %`,
    );
    expect(evidence).toHaveLength(4);
    const right = assignment.filter((module, u) => module === assignment[u % 3]).length;
    expect(right / planted.units).toBeGreaterThan(0.97);
    expect(new Set(assignment.slice(0, 3)).size).toBe(3);
    expect(assignment[0]).toBe(0);
  });

  test("separates robust from sensitive units", () => {
    const behaviour: Behaviour = (u, _, { t, noise }) => t + (u % 4 === 0 ? 1 : 0.1) * noise;
    const { assignment, modules } = modulesOf(scoresOf(behaviour, planted));
    expect(modules.length).toBeGreaterThanOrEqual(2);
    const robust = assignment.filter((module, u) => module === 0 && u % 4 !== 0).length;
    expect(robust / (0.75 * planted.units)).toBeGreaterThan(0.9);
    expect(modules.at(-1)!.meanSigma).toBeGreaterThan(2 * modules[0]!.meanSigma);
  });

  test.each(Object.entries(alike))("is one module for %s", (_, behaviour) => {
    const counts = [0, 1, 2, 3, 4].flatMap((seed) =>
      [
        { units: 200, sets: 5, seed },
        { units: 400, sets: 2, seed },
        { units: 200, sets: 12, seed },
      ].map((shape) => {
        const { modules, evidence, reason } = modulesOf(scoresOf(behaviour, shape));
        const excesses = evidence.map(({ excess }) => excess);
        const best = 1 + excesses.indexOf(Math.max(...excesses));
        if (modules.length === 1) expect(reason).toContain(best === 1 ? "no clustering" : `${best} clusters`);
        return modules.length;
      }),
    );
    expect(counts.filter((count) => count === 1).length).toBeGreaterThanOrEqual(13);
  });

  test("numbers modules by ascending sigma and describes them", () => {
    const scores = scoresOf(three, planted);
    const { sigma, meanRank } = unitSensitivity(scores);
    const { assignment, modules } = modulesOf(scores);
    for (const [number, module] of modules.entries()) {
      const units = Array.from(assignment.keys()).filter((u) => assignment[u] === number);
      expect(module.size).toBe(units.length);
      expect(module.sigmaRange).toEqual([
        Math.min(...units.map((u) => sigma[u]!)),
        Math.max(...units.map((u) => sigma[u]!)),
      ]);
      const rank = units.reduce((sum, u) => sum + meanRank[u]!, 0) / units.length;
      expect(module.meanRank).toBeCloseTo(rank, 12);
      if (number > 0) expect(module.meanSigma).toBeGreaterThanOrEqual(modules[number - 1]!.meanSigma);
    }
  });

  test("is the same for sets in another order, and repeats byte for byte", () => {
    const scores = scoresOf(three, planted);
    const json = JSON.stringify(modulesOf(scores));
    expect(JSON.stringify(modulesOf(scores))).toBe(json);
    fc.assert(
      fc.property(fc.shuffledSubarray([...scores.keys()], { minLength: 5 }), (names) => {
        expect(JSON.stringify(modulesOf(new Map(names.map((name) => [name, scores.get(name)!]))))).toBe(json);
      }),
      { numRuns: 5 },
    );
  });

  test("permutes with the units, exactly", () => {
    const scores = scoresOf(three, planted);
    const { assignment, ...rest } = modulesOf(scores);
    const random = randomStream(3, "order");
    const keys = Array.from({ length: planted.units }, random);
    const order = Array.from(keys.keys()).sort((a, b) => keys[a]! - keys[b]!);
    const moved = new Map(
      Array.from(scores, ([set, values]) => [set, Float64Array.from(order, (u) => values[u]!)]),
    );
    const result = modulesOf(moved);
    expect(result).toEqual({ ...rest, assignment: order.map((u) => assignment[u]!) });
  });

  test("finds the same modules for any seed and any names of the sets", () => {
    const scores = scoresOf(three, planted);
    const { assignment } = modulesOf(scores);
    expect(modulesOf(scores, { seed: 7 }).assignment).toEqual(assignment);
    const names = ["e", "d", "c", "b", "a"];
    const renamed = new Map([...scores.values()].map((values, d) => [names[d]!, values]));
    expect(modulesOf(renamed).assignment).toEqual(assignment);
  });

  test.each([
    [600, 10, "joins"],
    [600, 30, "keeps"],
    [2000, 30, "joins"],
    [2000, 60, "keeps"],
  ])("of %i units, a behaviour that %i have it %s", (units, few, does) => {
    const behaviour: Behaviour = (u, d, { t, noise }) =>
      u < few ? (d === 0 ? 9 : -9) + noise : t + 0.1 * noise;
    const { modules, reason } = modulesOf(scoresOf(behaviour, { units, sets: 5, seed: 1 }));
    const least = Math.max(16, 0.02 * units);
    expect(modules.every(({ size }) => size >= least)).toBe(true);
    expect(modules.reduce((sum, { size }) => sum + size, 0)).toBe(units);
    expect(modules.some(({ size }) => size === few)).toBe(does === "keeps");
    expect(reason.includes("Small modules were merged")).toBe(does === "joins");
  });

  test("joins a behaviour that few units have to the module with the nearest mean", () => {
    const few = [...Array(10).keys()];
    const behaviour: Behaviour = (u, d, { t, noise }) => {
      if (u < few.length) return (d < 2 ? 9 : -9) + 0.1 * noise;
      return u % 2 === 0 ? t + 0.05 * noise : (d === 0 ? 4 : -4) + 0.1 * noise;
    };
    const scores = scoresOf(behaviour, planted);
    const { assignment, modules, reason } = modulesOf(scores);
    expect(reason).toContain("Small modules were merged: 3 remain");
    const { points, dimensions } = behaviourPoints(unitSensitivity(scores).ranks);
    const meanOf = (units: readonly number[]): readonly number[] =>
      [...Array(dimensions).keys()].map(
        (j) => units.reduce((sum, u) => sum + points[u * dimensions + j]!, 0) / units.length,
      );
    const distances = modules.map((_, number) => {
      const others = [...assignment.keys()].filter((u) => assignment[u] === number && !few.includes(u));
      return Math.hypot(...meanOf(others).map((x, j) => x - meanOf(few)[j]!));
    });
    const nearest = distances.indexOf(Math.min(...distances));
    expect(few.map((u) => assignment[u])).toEqual(few.map(() => nearest));
  });

  test.each<[string, Planted, Partial<ModuleOptions>, string]>([
    ["few units", { units: 63, sets: 5, seed: 0 }, {}, "at least 64 units, the space has 63"],
    ["one unit", { units: 1, sets: 5, seed: 0 }, {}, "at least 64 units, the space has 1"],
    ["one set", { units: 600, sets: 1, seed: 0 }, {}, "a single calibration set"],
    ["a maximum of one", planted, { maxModules: 1 }, "the setting allows only one"],
  ])("is one module for %s", (_, shape, options, reason) => {
    const result = modulesOf(scoresOf(three, shape), options);
    expect(result.modules).toHaveLength(1);
    expect(result.evidence).toEqual([]);
    expect(result.assignment.every((module) => module === 0)).toBe(true);
    expect(result.reason).toContain(reason);
  });

  test("is one module when no unit changes its rank", () => {
    for (const behaviour of [() => 1, (u: number) => u, (_: number, d: number) => d] as Behaviour[]) {
      const result = modulesOf(scoresOf(behaviour, planted));
      expect(result.modules).toHaveLength(1);
      expect(result.reason).toContain("no unit's rank changes");
    }
  });

  test("has no NaN with constant sets, ties and twenty sets", () => {
    const shapes: [Behaviour, Planted][] = [
      [(_, d, { noise }) => (d === 0 ? 1 : noise), planted],
      [(u, d) => (u + d) % 2, planted],
      [(u, d) => (u % 2 === 0 ? d : -d), planted],
      [three, { units: 200, sets: 20, seed: 2 }],
      [three, { units: 64, sets: 2, seed: 2 }],
    ];
    for (const [behaviour, shape] of shapes) {
      const text = JSON.stringify(modulesOf(scoresOf(behaviour, shape)), (_, value) => {
        if (typeof value === "number" && !Number.isFinite(value)) throw new Error("not finite");
        return value;
      });
      expect(JSON.parse(text)).toMatchObject({ spaceId: "layers.0.ffn" });
    }
  });

  test("refuses an impossible maximum", () => {
    expect(() => modulesOf(scoresOf(three, planted), { maxModules: 0 })).toThrow("internal:");
  });
});
