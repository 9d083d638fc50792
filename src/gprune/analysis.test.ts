import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { type Space, spacesOf } from "../model/spaces.ts";
import { allocationByName } from "../prune/allocate.ts";
import type { Importance } from "../score/importance.ts";
import { randomStream } from "../tensor/random.ts";
import { ascendingOrder } from "../tensor/statistics.ts";
import { analyseUnits, type SpaceAnalysis, type SplitImportance } from "./analysis.ts";

const UNITS = 400;
const spec = tinySpec({ layers: [{ neurons: UNITS, kvGroups: 6 }, { kvGroups: 5 }] });
const spaces = spacesOf(spec);

/** Channel scores of all spaces. */
function importanceOf(value: (space: Space, channel: number) => number): Importance {
  return new Map(
    spaces.map((space) => {
      const length = space.units * space.unitChannels;
      return [space.id, Float64Array.from({ length }, (_, channel) => value(space, channel))];
    }),
  );
}

function drawn(label: string): Importance {
  const streams = new Map(spaces.map(({ id }) => [id, randomStream(0, `${label} ${id}`)]));
  return importanceOf(({ id }) => streams.get(id)!());
}

const pooled = drawn("pooled");
const fallback = drawn("fallback");

function analysesOf(sets: ReadonlyMap<string, SplitImportance>): readonly SpaceAnalysis[] {
  return analyseUnits({ spaces, sets, pooled, fallback, seed: 0, maxModules: 4 });
}

describe("the importance of an analysis", () => {
  test("is the pooled one where no module fell back, so that allocations do as without modules", () => {
    const same = { whole: pooled, halves: [pooled, pooled] as const };
    const analyses = analysesOf(
      new Map([
        ["a", same],
        ["b", same],
      ]),
    );
    const importance = new Map(analyses.map((own) => [own.space.id, own.importance]));
    expect(importance).toEqual(pooled);
    for (const name of ["global", "uniform"]) {
      const { allocate } = allocationByName(name);
      const budget = { spec, sparsity: 0.4 };
      expect(allocate({ ...budget, importance })).toEqual(allocate({ ...budget, importance: pooled }));
    }
  });

  test("follows the fallback's order in a module that fell back, with the values that the module had", () => {
    // The first half of the neurons is important everywhere, the others here or there.
    const shared = randomStream(1, "shared");
    const order = Array.from({ length: UNITS }, shared);
    const sets = new Map(
      ["a", "b", "c", "d"].map((name): [string, SplitImportance] => {
        const own = randomStream(2, name);
        const whole = importanceOf(({ kind, units }, u) => {
          if (kind === "kv" || units < UNITS || u < UNITS / 2) return Math.exp(3 + order[u]!);
          return Math.exp(own());
        });
        return [name, { whole, halves: [whole, whole] }];
      }),
    );
    const { orders, importance } = analysesOf(sets).find(({ space }) => space.units === UNITS)!;
    const fell = orders.filter(({ verdict }) => verdict === "fallback");
    expect(fell.length).toBeGreaterThan(0);
    for (const { spaceId, units } of fell) {
      const scores = pooled.get(spaceId)!;
      const values = units.map((unit) => scores[unit]!);
      expect(units.map((unit) => importance[unit]!)).toEqual(values.toSorted((a, b) => a - b));
      const ranks = ascendingOrder(fallback.get(spaceId)!);
      expect(units).toEqual(Array.from(ranks).filter((unit) => units.includes(unit)));
    }
  });
});
