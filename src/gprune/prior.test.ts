import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { randomActivations, statsOfActivations } from "../../test/tiny_stats.ts";
import { spacesOf } from "../model/spaces.ts";
import { allocationByName } from "../prune/allocate.ts";
import { removeRanked } from "../prune/ranked.ts";
import { scoreModel } from "../score/importance.ts";
import { metricByName } from "../score/registry.ts";
import { randomStream } from "../tensor/random.ts";
import { ascendingOrder } from "../tensor/statistics.ts";
import { fluctuationPrior, matchedQuantiles, type Prior, towardsPrior, type ValuedModule } from "./prior.ts";

const model = tinyModel({ layers: [{ neurons: 30, kvGroups: 2 }, { neurons: 20 }] });
const spaces = spacesOf(model.spec);

/** Modules of a model in which every space is one module, its units in index order, with these values. */
function valued(value: (id: string, unit: number) => number): readonly ValuedModule[] {
  return spaces.map((space) => {
    const units = Array.from({ length: space.units }, (_, unit) => unit);
    return { space, units, values: Float64Array.from(units, (unit) => value(space.id, unit)) };
  });
}

const priorOf = (value: (id: string, unit: number) => number): Prior =>
  new Map(spaces.map(({ id, units }) => [id, Float64Array.from({ length: units }, (_, u) => value(id, u))]));
const valuesOf = (modules: readonly ValuedModule[]): readonly number[] =>
  modules.flatMap(({ values }) => [...values]);

/** Values that rise along every space, different in all places. */
function rising(seed: number): (id: string, unit: number) => number {
  return (id, unit) => Math.exp((unit + randomStream(seed, id)()) / 7 + 2 * randomStream(seed, `at ${id}`)());
}

describe("matchedQuantiles", () => {
  test("gives values back that are ranked by themselves, and deals all out where masses are equal", () => {
    const numbers = fc.array(fc.tuple(fc.integer(), fc.integer(), fc.integer({ min: 1, max: 9 })), {
      minLength: 1,
    });
    fc.assert(
      fc.property(numbers, (rows) => {
        const by = Float64Array.from(rows, ([a]) => a);
        const values = Float64Array.from(rows, ([, b]) => b);
        const masses = Float64Array.from(rows, ([, , m]) => m);
        expect([...matchedQuantiles(values, values, masses)]).toEqual([...values]);
        const dealt = matchedQuantiles(by, values, new Float64Array(rows.length).fill(1));
        expect([...dealt].sort((a, b) => a - b)).toEqual([...values].sort((a, b) => a - b));
        const unequal = matchedQuantiles(by, values, masses);
        const along = Array.from(ascendingOrder(by), (item) => unequal[item]!);
        expect(along).toEqual(along.toSorted((a, b) => a - b));
      }),
    );
  });

  test("counts ranks by mass, not by items", () => {
    const by = Float64Array.of(0, 1, 2, 3);
    const values = Float64Array.of(40, 10, 20, 30);
    // By value the masses 1, 1, 1 and 3 end at 1, 2, 3 and 6; by rank the middles are 1.5, 3.5, 4.5 and 5.5.
    expect([...matchedQuantiles(by, values, Float64Array.of(3, 1, 1, 1))]).toEqual([20, 40, 40, 40]);
  });
});

describe("towardsPrior", () => {
  test("changes nothing when both say the same, on whatever scale", () => {
    const values = rising(1);
    const own = valued(values);
    const moved = valuesOf(
      towardsPrior(
        own,
        priorOf((id, unit) => Math.log(values(id, unit)) - 100),
      ),
    );
    for (const [place, value] of valuesOf(own).entries()) expect(moved[place]! / value).toBeCloseTo(1, 9);
  });

  test("moves spaces as the prior ranks them, and keeps the order inside a module", () => {
    const own = valued((_, unit) => 1 + unit);
    const away = priorOf((id, unit) => (id === "layers.0.ffn" ? 100 : 0) - unit);
    const moved = towardsPrior(own, away);
    for (const [place, { space, values }] of moved.entries()) {
      expect([...values]).toEqual([...values].sort((a, b) => a - b));
      if (space.id === "layers.0.ffn") expect(values[0]).toBeGreaterThan(own[place]!.values[0]!);
    }
    expect(moved.find(({ space }) => space.id === "layers.1.ffn")!.values.at(-1)).toBeLessThan(20);
  });

  test("knows only of units that are still there, and of values that are nothing", () => {
    const few = valued((id) => (id === "layers.1.ffn" ? 0 : 1)).map(({ space, units, values }) => {
      const left = units.filter((unit) => unit % 2 === 0);
      return { space, units: left, values: values.slice(0, left.length) };
    });
    const moved = towardsPrior(few, priorOf(rising(2)));
    expect(moved.map(({ units }) => units)).toEqual(few.map(({ units }) => units));
    for (const value of valuesOf(moved)) expect(value).toBeGreaterThanOrEqual(0);
    const nothing = valued(() => 0);
    for (const value of valuesOf(towardsPrior(nothing, priorOf(rising(3))))) expect(value).toBeCloseTo(0, 9);
  });
});

describe("fluctuationPrior", () => {
  test("ranks units as FLAP removes them", async () => {
    const stats = statsOfActivations(randomActivations(model.spec));
    const metric = metricByName("flap-wifv");
    const importance = await scoreModel({ model, metric, stats, seed: 0 });
    const request = { spec: model.spec, sparsity: 0.4 };
    const prior = await fluctuationPrior(model, stats);
    const ranked = spaces.map((space) => ({ space, values: prior.get(space.id)! }));
    const flap = allocationByName("global").allocate({ ...request, importance });
    expect(removeRanked(ranked, request)).toEqual(flap);
  });
});
