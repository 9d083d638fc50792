import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { spacesOf } from "../model/spaces.ts";
import type { Keep } from "../prune/plan.ts";
import type { RankedSpace } from "../prune/removal.ts";
import { randomStream } from "../tensor/random.ts";
import { analyseUnits } from "./analysis.ts";
import type { Marginals } from "./marginals.ts";
import { towardsPrior } from "./prior.ts";
import { type MarginalRemoval, rankByMarginals, removeByMarginals } from "./ranking.ts";

const layer = { neurons: 60, kvGroups: 4 };
const spec = tinySpec({ layers: [layer, layer, layer] });
const spaces = spacesOf(spec);
const scores = new Map(
  spaces.map(({ id, units, unitChannels }) => {
    return [id, Float64Array.from({ length: units * unitChannels }, randomStream(1, id))] as const;
  }),
);
const sets = new Map([["a", { whole: scores, halves: [scores, scores] as const }]]);
const analyses = analyseUnits({ spaces, sets, pooled: scores, fallback: scores, seed: 0, maxModules: 1 });

/** The model without every third neuron. */
const neurons = Array.from({ length: 60 }, (_, unit) => unit).filter((unit) => unit % 3 > 0);
const keep: Keep = Object.fromEntries(
  spaces.filter(({ kind }) => kind === "ffn").map(({ id }) => [id, neurons]),
);
const removal: MarginalRemoval = { spec, analyses, keep, sparsity: 0.5, roundTo: 1, shape: "per-layer" };

function randomMarginals(seed: number, scale = 1): Marginals {
  return new Map(
    spaces.map(({ id, units }) => {
      const random = randomStream(seed, id);
      return [id, Float64Array.from({ length: units }, () => scale * random() ** 4)] as const;
    }),
  );
}

/** Kept units when more is removed from the model without every third neuron. */
function removed(seed: number, { shape, scale }: { shape: "uniform" | "per-layer"; scale: number }): Keep {
  return removeByMarginals(randomMarginals(seed, scale), { ...removal, shape });
}

const sum = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((total, value) => total + value, 0);
const ranked = (changes: Partial<MarginalRemoval>): readonly RankedSpace[] =>
  rankByMarginals(randomMarginals(4, 1e-3), { ...removal, ...changes });

describe("removeByMarginals", () => {
  test.each(["uniform", "per-layer"] as const)(
    "does not depend on the scale of marginals, shape %s",
    (shape) => {
      for (let seed = 0; seed < 20; seed++) {
        expect(removed(seed, { shape, scale: 2 ** -80 })).toEqual(removed(seed, { shape, scale: 1 }));
      }
    },
  );

  test("keeps removed units removed with shape per-layer", () => {
    for (const kept of Object.values(removed(0, { shape: "per-layer", scale: 1 }))) {
      if (kept.length > 4) expect(kept.every((unit) => unit % 3 > 0)).toBe(true);
    }
  });
});

describe("rankByMarginals", () => {
  test("moves values inside a module where the sets agree that they are wrong, and keeps their sum", () => {
    const consensus = new Map(spaces.map(({ id }) => [id, [0.7]]));
    const plain = ranked({ keep: {} });
    for (const [index, { values }] of ranked({ keep: {}, consensus }).entries()) {
      expect(values).not.toEqual(plain[index]!.values);
      expect(sum(values) / sum(plain[index]!.values)).toBeCloseTo(1, 12);
    }
  });

  test("moves values towards the prior", () => {
    const prior = new Map(
      spaces.map(({ id, units }) => [id, Float64Array.from({ length: units }, randomStream(9, id))]),
    );
    const modules = ranked({ keep: {} }).map(({ space, values }, index) => {
      const { units } = analyses[index]!.orders[0]!;
      return { space, units, values: Float64Array.from(units, (unit) => values[unit]!) };
    });
    const moved = towardsPrior(modules, prior);
    for (const [index, { values }] of ranked({ keep: {}, prior }).entries()) {
      const { units, values: expected } = moved[index]!;
      expect(units.map((unit) => values[unit]!)).toEqual([...expected]);
    }
  });

  test("puts removed units below all others, as far as these lie above 0", () => {
    const all = ranked({});
    const largest = Math.max(...all.flatMap(({ values }) => [...values]));
    for (const { space, values } of all) {
      for (const [unit, value] of values.entries()) {
        if (space.kind === "ffn" && unit % 3 === 0) expect(value).toBe(-largest);
        else expect(value).toBeGreaterThanOrEqual(0);
      }
    }
  });

  test("puts removed units below others that cost nothing", () => {
    const nothing = new Map(spaces.map(({ id, units }) => [id, new Float64Array(units)]));
    for (const { space, values } of rankByMarginals(nothing, removal)) {
      for (const [unit, value] of values.entries()) {
        expect(value).toBe(space.kind === "ffn" && unit % 3 === 0 ? -1 : 0);
      }
    }
  });

  test("weighs removed units again where layers stay equal, at no more than the cheapest present one", () => {
    const marginals = randomMarginals(4, 1e-3);
    const present = ranked({});
    for (const [index, { space, values, ties }] of ranked({ shape: "uniform" }).entries()) {
      const isPresent = (unit: number): boolean => keep[space.id]?.includes(unit) ?? true;
      const units = [...values.keys()];
      const costs = units.filter(isPresent).map((unit) => present[index]!.values[unit]!);
      for (const unit of units) {
        const own = marginals.get(space.id)![unit]! / space.unitParameters;
        const expected = isPresent(unit) ? present[index]!.values[unit]! : Math.min(own, ...costs);
        expect(values[unit]).toBe(expected);
      }
      const order = units.toSorted((a, b) => values[a]! - values[b]! || ties![a]! - ties![b]!);
      const gone = units.filter((unit) => !isPresent(unit));
      expect(order.slice(0, gone.length).toSorted((a, b) => a - b)).toEqual(gone);
    }
  });
});
