import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { prunableParameters, type Space, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { SPACE_KINDS } from "../model/weights.ts";
import { achievedSparsity, type Keep, keptUnits, makePlan } from "../prune/plan.ts";
import { removeRanked } from "../prune/ranked.ts";
import { randomStream } from "../tensor/random.ts";
import {
  changedChannels,
  MAX_ALTERNATIVES,
  movedWidths,
  type Slope,
  type SpaceAlternatives,
  type WidthRequest,
  widthAlternatives,
} from "./width_moves.ts";

const layer = { neurons: 100, kvGroups: 4 };
const spec = tinySpec({ layers: Array.from({ length: 8 }, () => layer) });

/** A plan of random values, with the order that it comes from. */
function requestFor(
  own: ModelSpec,
  { sparsity, roundTo = 1, seed = 0 }: { sparsity: number; roundTo?: number; seed?: number },
): WidthRequest {
  const ranked = spacesOf(own).map((space) => {
    const random = randomStream(seed, space.id);
    return { space, values: Float64Array.from({ length: space.units }, random) };
  });
  const keep = removeRanked(ranked, { spec: own, sparsity, roundTo });
  const order = new Map(
    ranked.map(({ space: { id }, values }) => {
      return [id, [...values.keys()].sort((a, b) => values[a]! - values[b]!)] as const;
    }),
  );
  return { spec: own, keep, order, sparsity, roundTo };
}

/** Slopes as if every unit of a space had the worth `worth(space)`. */
function slopesOf(
  choices: readonly SpaceAlternatives[],
  worth: (space: Space) => number,
  square = 0,
): ReadonlyMap<string, readonly Slope[]> {
  return new Map(
    choices.map(({ space, alternatives }) => {
      return [
        space.id,
        alternatives.map(({ unitsAdded }) => ({ first: -unitsAdded * worth(space), square })),
      ] as const;
    }),
  );
}

function widthOf(keep: Keep, id: string): number {
  return keptUnits(keep, spacesOf(spec).find((space) => space.id === id)!).length;
}

describe("widthAlternatives", () => {
  test("offers the units that would come back last gone first, and those that would go next", () => {
    const request = requestFor(spec, { sparsity: 0.4 });
    for (const { space, present, alternatives } of widthAlternatives(request)) {
      const order = request.order.get(space.id)!;
      const gone = space.units - present.length;
      for (const { units, unitsAdded } of alternatives) {
        expect(units).toEqual([...units].sort((a, b) => a - b));
        expect(units.length).toBe(present.length + unitsAdded);
        if (space.kind === "ffn")
          expect([...units].sort()).toEqual([...order.slice(gone - unitsAdded)].sort());
      }
      const mores = alternatives.map(({ unitsAdded }) => unitsAdded);
      if (space.kind === "ffn") expect(mores).toEqual([8, -8]);
      else
        expect(mores).toEqual([
          ...Array(present.length > 1 ? 2 : 0).fill(-1),
          ...Array(Math.min(2, gone)).fill(1),
        ]);
    }
    for (const kind of SPACE_KINDS) {
      const counts = widthAlternatives(request).map(({ space, alternatives }) =>
        space.kind === kind ? alternatives.length : 0,
      );
      expect(Math.max(...counts)).toBe(MAX_ALTERNATIVES[kind]);
    }
  });

  test("has none for what cannot change, and whole blocks of neurons", () => {
    const narrow = tinySpec({
      layers: [
        { neurons: 1, kvGroups: 1 },
        { neurons: 64, kvGroups: 1 },
      ],
    });
    const request = { ...requestFor(narrow, { sparsity: 0, roundTo: 16 }), keep: {} };
    expect(
      widthAlternatives(request).map(({ space, alternatives }) => [space.id, alternatives[0]!.unitsAdded]),
    ).toEqual([["layers.1.ffn", -16]]);
  });
});

test("no alternative has more channels than its layer, however wide a block", () => {
  const [ffn] = spacesOf(tinySpec({ layers: [{ neurons: 64, kvGroups: 1 }] })).filter(
    ({ kind }) => kind === "ffn",
  );
  expect([1, 16, 1_000_000].map((roundTo) => changedChannels(ffn!, roundTo))).toEqual([5, 16, 64]);
});

describe("movedWidths", () => {
  test("leaves widths as they are where parameters are worth the same in all", () => {
    const request = requestFor(spec, { sparsity: 0.4 });
    const choices = widthAlternatives(request);
    const cost = (space: Space): number => space.unitParameters;
    const same = movedWidths(request, choices, slopesOf(choices, cost));
    for (const { from, to } of same.moves) expect(to).toBe(from);
    expect(same.moves.every(({ worth }) => Math.abs(worth! - 1e6) < 1)).toBe(true);
  });

  test("leaves widths as they are where more is not better, and exchanges neurons all the same", () => {
    const request = requestFor(spec, { sparsity: 0.4 });
    const choices = widthAlternatives(request);
    const nothing = slopesOf(choices, () => 0);
    const same = movedWidths(request, choices, nothing);
    expect(same.keep).toEqual(request.keep);
    expect(same.moves.every(({ from, to, exchanged }) => from === to && exchanged === 0)).toBe(true);
    // KV groups would come back by their slopes, but nothing tells what their parameters are worth in neurons.
    const back = slopesOf(choices, ({ kind }) => (kind === "kv" ? 1 : 0));
    expect(movedWidths(request, choices, back).keep).toEqual(request.keep);
    const order = new Map(
      Array.from(request.order, ([id, units]) => [id, id.endsWith("ffn") ? units.toReversed() : units]),
    );
    const other = movedWidths({ ...request, order }, choices, nothing);
    for (const { from, to } of other.moves) expect(to).toBe(from);
    expect(other.moves.some(({ exchanged = 0 }) => exchanged > 0)).toBe(true);
    for (const { space } of choices.filter(({ space }) => space.kind === "ffn")) {
      const kept = keptUnits(other.keep, space);
      const last = order.get(space.id)!.slice(space.units - kept.length);
      expect([...kept].sort()).toEqual([...last].sort());
    }
  });

  test("widens what is worth more, by eight in a hundred at most, at the cost of the others", () => {
    const request = requestFor(spec, { sparsity: 0.4 });
    const choices = widthAlternatives(request);
    const worth = ({ layer: index, unitParameters }: Space): number =>
      unitParameters * (index === 3 ? 20 : 1);
    const { keep } = movedWidths(request, choices, slopesOf(choices, worth, 1e9));
    const changes = spec.layers.map((_, index) => {
      const id = `layers.${index}.ffn`;
      return widthOf(keep, id) - widthOf(request.keep, id);
    });
    expect(changes[3]).toBeGreaterThan(5);
    expect(changes[3]).toBeLessThanOrEqual(8 + 3);
    for (const [index, change] of changes.entries()) if (index !== 3) expect(change).toBeLessThanOrEqual(0);
  });

  test("lets the KV group go that costs least below its price, and takes back the one worth most above it", () => {
    const request = requestFor(spec, { sparsity: 0.4, seed: 3 });
    const choices = widthAlternatives(request);
    const groups = choices.filter(({ space }) => space.kind === "kv");
    const going = groups.find(({ alternatives }) => alternatives.some(({ unitsAdded }) => unitsAdded < 0))!;
    const coming = groups.find(
      (own) => own !== going && own.alternatives.some(({ unitsAdded }) => unitsAdded > 0),
    )!;
    const slopes = new Map(slopesOf(choices, ({ unitParameters }) => unitParameters));
    const price = going.space.unitParameters;
    const set = ({ space, alternatives }: SpaceAlternatives, sign: number, first: number): number => {
      const index = alternatives.findLastIndex(({ unitsAdded }) => unitsAdded === sign);
      slopes.set(space.id, slopes.get(space.id)!.with(index, { first, square: 0.1 * price }));
      return index;
    };
    const [out, back] = [set(going, -1, -price), set(coming, 1, -2 * price)];
    const { keep } = movedWidths(request, choices, slopes);
    expect(keptUnits(keep, going.space)).toEqual(going.alternatives[out]!.units);
    expect(keptUnits(keep, coming.space)).toEqual(coming.alternatives[back]!.units);
    // A negative slope counts as 0 when a group is removed, so removal costs at least its curvature.
    set(going, -1, -price);
    slopes.set(
      going.space.id,
      slopes.get(going.space.id)!.map((own) => ({ ...own, square: 10 * price })),
    );
    const careful = movedWidths(request, choices, slopes);
    expect(keptUnits(careful.keep, going.space)).toEqual(going.present);
  });

  /** The plan without the first KV groups of these layers, and slopes by which one goes in others, at a gain. */
  function leavingGroups(gone: readonly number[], gains: ReadonlyMap<number, number>): Keep {
    const dense = requestFor(spec, { sparsity: 0 });
    const kept = gone.map((index) => {
      const id = `layers.${index}.kv`;
      return [id, [...dense.order.get(id)!.slice(1)].sort((a, b) => a - b)] as const;
    });
    const keep = Object.fromEntries(kept);
    const request = { ...dense, keep, sparsity: achievedSparsity(makePlan(spec, keep), spec) };
    const choices = widthAlternatives(request);
    const slopes = new Map(
      choices.map((choice) => {
        const { space, alternatives } = choice;
        const gain = space.kind === "kv" ? gains.get(space.layer) : undefined;
        const own = alternatives.map(({ unitsAdded }) => {
          if (space.kind === "ffn") return { first: -unitsAdded * space.unitParameters, square: 0 };
          const first = (unitsAdded < 0 ? 1 - (gain ?? 0) : 1) * space.unitParameters;
          return { first, square: 0 };
        });
        return [space.id, own] as const;
      }),
    );
    return movedWidths(request, choices, slopes).keep;
  }

  const layersWithout = (keep: Keep): readonly number[] =>
    spec.layers.flatMap((_, index) => (widthOf(keep, `layers.${index}.kv`) < 4 ? [index] : []));

  test("lets one group in sixteen go at most, those that gain most", () => {
    const gains = new Map([
      [0, 0.2],
      [1, 0.4],
      [2, 0.1],
      [3, 0.3],
    ]);
    const neurons = spec.layers.length * layer.neurons;
    const keep = leavingGroups([4, 5, 6, 7], gains);
    // Neurons cannot come back, since none is gone: the budget keeps four groups away, two of them new ones.
    expect(spec.layers.reduce((sum, _, index) => sum + widthOf(keep, `layers.${index}.ffn`), 0)).toBe(
      neurons,
    );
    expect(layersWithout(keep).length).toBe(4);
    expect(layersWithout(keep).every((index) => [1, 3, 4, 5, 6, 7].includes(index))).toBe(true);
  });

  test("fills no rest of the budget with KV groups that nobody asked for, where blocks of neurons are dearer than they", () => {
    const own = { neurons: 128, kvGroups: 3 };
    const dear = tinySpec({ layers: Array.from({ length: 8 }, () => own) });
    const [kv, ffn] = spacesOf(dear) as [Space, Space];
    const roundTo = 32;
    expect(roundTo * ffn.unitParameters).toBeGreaterThan(kv.unitParameters);
    for (const sparsity of [0.25, 0.3, 0.35, 0.4, 0.45, 0.5]) {
      const request = requestFor(dear, { sparsity, roundTo });
      const choices = widthAlternatives(request);
      const back = choices.find(({ alternatives }) =>
        alternatives.some(({ unitsAdded }) => unitsAdded === 1),
      )!;
      const slopes = slopesOf(
        choices,
        ({ kind, unitParameters }) => (kind === "ffn" ? unitParameters : 0),
        1e9,
      );
      const index = back.alternatives.findLastIndex(({ unitsAdded }) => unitsAdded === 1);
      const paying = new Map(slopes).set(
        back.space.id,
        slopes.get(back.space.id)!.with(index, { first: -1e9, square: 0 }),
      );
      const { keep, moves } = movedWidths(request, choices, paying);
      expect(moves.filter(({ space }) => space.endsWith("kv"))).toEqual([
        expect.objectContaining({ space: back.space.id, to: back.present.length + 1 }),
      ]);
      const block = (roundTo * ffn.unitParameters) / prunableParameters(dear);
      const achieved = achievedSparsity(makePlan(dear, keep), dear);
      expect(achieved).toBeLessThanOrEqual(sparsity + 1e-9);
      expect(achieved).toBeGreaterThan(sparsity - block);
    }
  });

  test("meets the budget whatever the slopes are, in the given order", () => {
    const layers = fc.array(
      fc.record({ neurons: fc.integer({ min: 24, max: 60 }), kvGroups: fc.integer({ min: 1, max: 5 }) }),
      { minLength: 1, maxLength: 6 },
    );
    const numbers = {
      sparsity: fc.double({ min: 0, max: 0.6, noNaN: true }),
      seed: fc.nat(99),
      scale: fc.double({ min: -9, max: 9, noNaN: true }),
    };
    fc.assert(
      fc.property(
        layers,
        fc.record(numbers),
        fc.constantFrom(1, 4),
        (own, { sparsity, seed, scale }, roundTo) => {
          const tiny = tinySpec({ layers: own });
          const request = requestFor(tiny, { sparsity, seed, roundTo });
          const choices = widthAlternatives(request);
          const random = randomStream(seed, "slopes");
          const slopes = slopesOf(choices, () => scale * (random() - 0.3), random());
          const { keep } = movedWidths(request, choices, slopes);
          const achieved = achievedSparsity(makePlan(tiny, keep), tiny);
          const neuron = spacesOf(tiny).find(({ kind }) => kind === "ffn")!.unitParameters;
          // Parameters are whole numbers: half a parameter more changes nothing.
          expect(achieved).toBeLessThanOrEqual(sparsity + 0.6 / prunableParameters(tiny));
          const before = achievedSparsity(makePlan(tiny, request.keep), tiny);
          const slack = (roundTo * neuron * (roundTo === 1 ? 1 : own.length + 1)) / prunableParameters(tiny);
          expect(achieved).toBeGreaterThan(Math.min(before, sparsity) - slack - 1e-9);
          for (const space of spacesOf(tiny)) {
            if (space.kind === "kv") continue;
            const kept = keptUnits(keep, space);
            expect([...kept].sort()).toEqual(
              [...request.order.get(space.id)!.slice(space.units - kept.length)].sort(),
            );
          }
        },
      ),
    );
  });
});
