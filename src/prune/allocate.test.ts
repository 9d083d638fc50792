/**
 * The laws of every allocation, then what is particular to each.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tinyOptions } from "../../test/plans.ts";
import { randomTensor, tinySpec } from "../../test/tiny_model.ts";
import { GpruneError } from "../errors.ts";
import { prunableParameters, type Space, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Importance } from "../score/importance.ts";
import { ALLOCATIONS, allocationByName } from "./allocate.ts";
import { standardise, standardisedUnits } from "./allocate_global.ts";
import { type Keep, keptUnits, makePlan, removedParameters, validatePlan, widths } from "./plan.ts";

const specs = tinyOptions.map(tinySpec);
const fractions = fc.double({ min: 0, max: 1, noNaN: true });

/** Distinct random scores >= 0 for every channel. */
function randomScores(spec: ModelSpec, seed = 0): Importance {
  return new Map(
    spacesOf(spec).map(({ id, units, unitChannels }) => {
      const { data } = randomTensor([units * unitChannels], { seed, name: id, centre: 0.5 });
      return [id, Float64Array.from(data)];
    }),
  );
}

/** The largest sparsity that leaves one unit in every part of every space. */
function largestSparsity(spec: ModelSpec): number {
  const removable = spacesOf(spec).reduce((sum, s) => sum + (s.units - s.parts) * s.unitParameters, 0);
  return removable / prunableParameters(spec);
}

/** Room for a neuron everywhere: then the budget can always be met to within one neuron. */
function hasFineNeurons(spec: ModelSpec): boolean {
  const neurons = spacesOf(spec).filter(({ kind }) => kind === "ffn");
  const groups = spacesOf(spec).filter(({ kind }) => kind === "kv");
  const spare = neurons.reduce((sum, s) => sum + (s.units - s.parts) * s.unitParameters, 0);
  return spare >= Math.max(...groups.map((s) => s.unitParameters));
}

/** Parameters of a neuron, or of one of every expert. */
const largestNeuron = (spec: ModelSpec): number =>
  Math.max(...spacesOf(spec).flatMap((s) => (s.kind === "ffn" ? [s.parts * s.unitParameters] : [])));

describe.each(ALLOCATIONS)("allocation $name", (allocation) => {
  const removedAt = (spec: ModelSpec, sparsity: number): number =>
    removedParameters(
      makePlan(spec, allocation.allocate({ spec, importance: randomScores(spec), sparsity })),
      spec,
    );

  test("gives valid plans, so at least one unit stays in each space", () => {
    fc.assert(
      fc.property(specs, fractions, (spec, part) => {
        const sparsity = part * largestSparsity(spec);
        const keep = allocation.allocate({ spec, importance: randomScores(spec), sparsity });
        expect(validatePlan(makePlan(spec, keep), spec)).toEqual({ ok: true });
      }),
    );
  });

  test("removes no more than the budget, and less by under one neuron", () => {
    fc.assert(
      fc.property(specs, fractions, (spec, part) => {
        const sparsity = part * largestSparsity(spec);
        const missing = sparsity * prunableParameters(spec) - removedAt(spec, sparsity);
        expect(missing).toBeGreaterThanOrEqual(-0.01);
        if (hasFineNeurons(spec)) expect(missing).toBeLessThan(largestNeuron(spec));
      }),
      { numRuns: 300 },
    );
  });

  test("removes at least as many parameters when the budget grows by a neuron or more", () => {
    fc.assert(
      fc.property(specs, fractions, fractions, (spec, a, b) => {
        fc.pre(hasFineNeurons(spec));
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map((part) => part * largestSparsity(spec));
        fc.pre((more! - less!) * prunableParameters(spec) >= largestNeuron(spec));
        expect(removedAt(spec, more!)).toBeGreaterThanOrEqual(removedAt(spec, less!));
      }),
    );
  });

  test("removes nothing at 0 and everything but the minimum at the largest sparsity", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        expect(allocation.allocate({ spec, importance: randomScores(spec), sparsity: 0 })).toEqual({});
        const all = makePlan(
          spec,
          allocation.allocate({ spec, importance: randomScores(spec), sparsity: largestSparsity(spec) }),
        );
        expect(widths(all, spec)).toEqual({
          ffn: spec.layers.map(({ neurons, experts }) => Math.min(neurons, experts?.count ?? 1)),
          kv: spec.layers.map(({ mixer }) => (mixer ? 0 : 1)),
        });
      }),
    );
  });

  test("follows the units when they change places", () => {
    fc.assert(
      fc.property(specs, fc.nat(), fractions, (spec, seed, part) => {
        fc.pre(spacesOf(spec).every(({ kind, units }) => kind === "kv" || units > 2));
        const sparsity = part * largestSparsity(spec);
        const importance = randomScores(spec, seed);
        const orders = new Map(spacesOf(spec).map((s) => [s.id, shuffled(s, seed)]));
        const moved = new Map(
          spacesOf(spec).map((s) => [s.id, permuted(importance.get(s.id)!, s, orders.get(s.id)!)]),
        );
        const keep = allocation.allocate({ spec, importance, sparsity });
        const keepMoved = allocation.allocate({ spec, importance: moved, sparsity });
        const back = Object.entries(keepMoved).map(([id, kept]) => {
          return [id, kept.map((unit) => orders.get(id)![unit]!).sort((a, b) => a - b)];
        });
        expect(Object.fromEntries(back)).toEqual(keep);
      }),
    );
  });

  test("breaks ties by index and then meets the budget as ever", () => {
    const spec = tinySpec({ layers: [{ neurons: 10, kvGroups: 1 }] });
    const importance = new Map(
      spacesOf(spec).map((s) => [s.id, new Float64Array(s.units * s.unitChannels).fill(2)]),
    );
    const sparsity = (3 * 24) / prunableParameters(spec);
    expect(allocation.allocate({ spec, importance, sparsity })).toEqual({
      "layers.0.ffn": [3, 4, 5, 6, 7, 8, 9],
    });
  });

  test("rounds FFN widths that change to multiples", () => {
    const spec = tinySpec({ layers: [{ neurons: 64 }, { neurons: 61 }, { neurons: 3 }] });
    for (const sparsity of [0.1, 0.3, 0.5, 0.7]) {
      const keep = allocation.allocate({ spec, importance: randomScores(spec), sparsity, roundTo: 8 });
      const plan = makePlan(spec, keep);
      expect(validatePlan(plan, spec)).toEqual({ ok: true });
      for (const [layer, width] of widths(plan, spec).ffn.entries()) {
        expect(width % 8 === 0 || width === spec.layers[layer]!.neurons).toBe(true);
      }
      const missing = sparsity * prunableParameters(spec) - removedParameters(plan, spec);
      expect(missing).toBeGreaterThanOrEqual(-0.01);
      expect(missing).toBeLessThan(8 * 24);
    }
  });

  test("can leave as few neurons as the multiple itself", () => {
    const spec = tinySpec({ layers: [{ neurons: 61, kvGroups: 1 }] });
    const sparsity = (53 * 24) / prunableParameters(spec);
    const keep = allocation.allocate({ spec, importance: randomScores(spec), sparsity, roundTo: 8 });
    expect(widths(makePlan(spec, keep), spec).ffn).toEqual([8]);
  });

  test("refuses importance of another model", () => {
    const spec = tinySpec();
    const act = (importance: Importance) => (): unknown =>
      allocation.allocate({ spec, importance, sparsity: 0.1 });
    const wider = randomScores(tinySpec({ layers: [{ kvGroups: 3 }, {}] }));
    expect(act(new Map())).toThrow("importance of layers.0.kv: expected 16 scores, got none");
    expect(act(wider)).toThrow("importance of layers.0.kv: expected 16 scores, got 24");
  });

  test("says the largest possible sparsity when more is asked for", () => {
    const spec = tinySpec({ layers: [{ neurons: 10, kvGroups: 2, groupSize: 1 }] });
    const importance = randomScores(spec);
    // removable 9 * 24 + 128 = 344 of 10 * 24 + 2 * 128 = 496
    expect(() => allocation.allocate({ spec, importance, sparsity: 0.7 })).toThrow(
      "sparsity: expected at most 0.6935, got 0.7",
    );
    for (const sparsity of [-0.1, 1, Number.NaN]) {
      const act = (): unknown => allocation.allocate({ spec, importance, sparsity });
      expect(act).toThrow(`sparsity: expected a fraction of at least 0 and below 1, got ${sparsity}`);
    }
    for (const roundTo of [0, 1.5]) {
      const act = (): unknown => allocation.allocate({ spec, importance, sparsity: 0, roundTo });
      expect(act).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    }
  });
});

describe("uniform", () => {
  const { allocate } = allocationByName("uniform");
  const removedOf = (spec: ModelSpec, keep: Keep): readonly { readonly kv: number; readonly all: number }[] =>
    spec.layers.map((_, layer) => {
      const [kv, ffn] = spacesOf(spec).slice(2 * layer, 2 * layer + 2) as [Space, Space];
      const [groups, neurons] = [kv, ffn].map((space) => space.units - keptUnits(keep, space).length);
      return { kv: groups!, all: groups! * kv.unitParameters + neurons! * ffn.unitParameters };
    });

  test("takes the same fraction of unequal layers, whole groups rounded down and neurons for the rest", () => {
    const layers = fc.array(
      fc.record({ neurons: fc.integer({ min: 40, max: 80 }), kvGroups: fc.integer({ min: 1, max: 6 }) }),
      { minLength: 1, maxLength: 5 },
    );
    const sparsities = fc.double({ min: 0, max: 0.6, noNaN: true });
    fc.assert(
      fc.property(layers, sparsities, (own, sparsity) => {
        const spec = tinySpec({ layers: own });
        const removed = removedOf(spec, allocate({ spec, importance: randomScores(spec), sparsity }));
        let share = 0;
        for (const [layer, { kv, all }] of removed.entries()) {
          const { neurons, kvGroups } = own[layer]!;
          const [space] = spacesOf(spec).slice(2 * layer) as [Space];
          share += sparsity * (neurons * 24 + kvGroups * space.unitParameters) - all;
          expect(kv).toBe(Math.min(kvGroups - 1, Math.floor(sparsity * kvGroups + 1e-9)));
          expect(share).toBeGreaterThanOrEqual(-0.01);
          expect(share).toBeLessThan(24);
        }
      }),
    );
  });

  test("shares by size what layers cannot give that have no more", () => {
    const layers = [{ neurons: 1 }, { neurons: 200 }, { neurons: 100 }].map((own) => ({
      ...own,
      kvGroups: 1,
    }));
    const spec = tinySpec({ layers });
    const keep = allocate({
      spec,
      importance: randomScores(spec),
      sparsity: (150 * 24) / prunableParameters(spec),
    });
    const [, second, third] = removedOf(spec, keep).map(({ all }) => all / 24);
    const group = prunableParameters(tinySpec({ layers: [{ neurons: 1, kvGroups: 1 }] })) / 24 - 1;
    expect(second! + third!).toBe(150);
    expect(Math.abs(second! - (150 * (200 + group)) / (300 + 2 * group))).toBeLessThan(1);
  });

  test("lets neurons of earlier layers fill what the groups of the last one leave", () => {
    const spec = tinySpec({ layers: [{ neurons: 60 }, { neurons: 1, kvGroups: 5 }] });
    for (let sparsity = 0.1; sparsity < 0.6; sparsity += 0.05) {
      const keep = allocate({ spec, importance: randomScores(spec), sparsity });
      const missing = sparsity * prunableParameters(spec) - removedParameters(makePlan(spec, keep), spec);
      expect(missing).toBeLessThan(24);
    }
  });

  test("gives groups and neurons the same fraction where all layers stay equal", () => {
    const layer = { neurons: 90, kvGroups: 6 };
    const spec = tinySpec({ layers: [layer, layer] });
    const fractions = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    for (const sparsity of fractions) {
      const keep = allocate({ spec, importance: randomScores(spec), sparsity, shape: "uniform" });
      for (const { kv } of removedOf(spec, keep))
        expect(Math.abs(kv - 6 * sparsity)).toBeLessThanOrEqual(0.6);
    }
  });

  test("treats equal layers alike but for one neuron", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 30, max: 60 }),
        fc.integer({ min: 1, max: 4 }),
        fractions,
        (neurons, kvGroups, s) => {
          const spec = tinySpec({ layers: Array.from({ length: 4 }, () => ({ neurons, kvGroups })) });
          const sparsity = s * largestSparsity(spec);
          const { ffn, kv } = widths(
            makePlan(spec, allocate({ spec, importance: randomScores(spec), sparsity })),
            spec,
          );
          expect(Math.max(...ffn) - Math.min(...ffn)).toBeLessThanOrEqual(1);
          expect(new Set(kv).size).toBe(1);
          const groups = Math.min(kvGroups - 1, Math.floor(sparsity * kvGroups + 1e-9));
          expect(kvGroups - kv[0]!).toBeGreaterThanOrEqual(groups);
        },
      ),
    );
  });

  test("removes the lowest unit sums of a space", () => {
    const spec = tinySpec({ layers: [{ neurons: 4, kvGroups: 3, groupSize: 1 }], headDim: 2 });
    const importance = new Map([
      ["layers.0.kv", Float64Array.of(3, 3, 0, 5, 1, 9)],
      ["layers.0.ffn", Float64Array.of(4, 1, 3, 2)],
    ]);
    // 2 C H (2 g + 2) = 128 for two groups (64 each), 24 a neuron: half of 3 * 64 + 4 * 24 is 1 group and 3 neurons
    expect(allocate({ spec, importance, sparsity: 0.5 })).toEqual({
      "layers.0.kv": [0, 2],
      "layers.0.ffn": [0],
    });
  });
});

describe("global", () => {
  const { allocate } = allocationByName("global");
  const space = (kind: "kv" | "ffn", units: number, unitChannels: number): Space => {
    return { id: `layers.0.${kind}`, kind, layer: 0, units, parts: 1, unitChannels, unitParameters: 1 };
  };

  test("standardises with n - 1 and gives zeros where nothing varies", () => {
    expect([...standardise(Float64Array.of(1, 2, 3))]).toEqual([-1, 0, 1]);
    expect([...standardise(Float64Array.of(10, 20, 30))]).toEqual([-1, 0, 1]);
    expect([...standardise(Float64Array.of(0.1, 0.1, 0.1))]).toEqual([0, 0, 0]);
    expect([...standardise(Float64Array.of(7))]).toEqual([0]);
    expect([...standardise(new Float64Array(2))]).toEqual([0, 0]);
  });

  test("takes first what adds nothing to the stream, of which no score tells from another", () => {
    const spec = tinySpec({ layers: [{ neurons: 40 }, { neurons: 40 }] });
    const importance = new Map(
      spacesOf(spec).map(({ id, units, unitChannels }): [string, Float64Array] => {
        const { data } = randomTensor([units * unitChannels], { name: id });
        return [
          id,
          id.startsWith("layers.1") ? new Float64Array(data.length) : Float64Array.from(data, Math.abs),
        ];
      }),
    );
    const keep = allocate({ spec, importance, sparsity: 0.5, roundTo: 1, shape: "per-layer" });
    expect(keep["layers.1.ffn"]).toHaveLength(1);
    expect(keep["layers.1.kv"]).toHaveLength(1);
    expect([...standardisedUnits(new Float64Array(1), space("kv", 1, 1))]).toEqual([-1]);
  });

  test("gives a space without scores the lowest z that there is, and no other", () => {
    for (const n of [2, 3, 10]) {
      const [lowest] = standardise(Float64Array.from({ length: n }, (_, j) => (j === 0 ? 0 : 1)));
      for (const z of standardisedUnits(new Float64Array(n), space("ffn", n, 1))) {
        expect(z).toBeCloseTo(lowest!, 12);
      }
      const some = Float64Array.from({ length: n }, (_, j) => j);
      expect(standardisedUnits(some, space("ffn", n, 1))).toEqual(standardise(some));
    }
  });

  test("squares attention scores, and only those, before standardising", () => {
    const scores = Float64Array.of(1, 2, 3, 5);
    const squared = standardise(Float64Array.of(1, 4, 9, 25));
    const expected = [(squared[0]! + squared[1]!) / 2, (squared[2]! + squared[3]!) / 2];
    expect([...standardisedUnits(scores, space("kv", 2, 2))]).toEqual(expected);
    expect(standardisedUnits(scores, space("ffn", 4, 1))).toEqual(standardise(scores));
  });

  test("equals a naive ranking of all units while none is too dear", () => {
    const spec = tinySpec({
      layers: [
        { neurons: 30, kvGroups: 1 },
        { neurons: 20, kvGroups: 1 },
      ],
    });
    const importance = randomScores(spec, 5);
    const ranked = spacesOf(spec)
      .filter(({ kind }) => kind === "ffn")
      .flatMap((s) => Array.from(standardise(importance.get(s.id)!), (z, unit) => ({ id: s.id, unit, z })))
      .sort((a, b) => a.z - b.z);
    const removed = ranked.slice(0, 17);
    const keep = allocate({ spec, importance, sparsity: (17 * 24) / prunableParameters(spec) });
    for (const { id, units } of spacesOf(spec).filter(({ kind }) => kind === "ffn")) {
      const gone = new Set(removed.filter((r) => r.id === id).map((r) => r.unit));
      expect(keep[id]).toEqual(Array.from({ length: units }, (_, u) => u).filter((u) => !gone.has(u)));
    }
  });

  test("trades neurons back for a KV group when neurons have run out", () => {
    const spec = tinySpec({ layers: [{ neurons: 12, kvGroups: 3, groupSize: 1 }] });
    const importance = new Map([
      ["layers.0.kv", Float64Array.from({ length: 12 }, (_, j) => (j < 8 ? 9 + j / 100 : 1))],
      ["layers.0.ffn", Float64Array.from({ length: 12 }, (_, j) => (j === 11 ? 100 : j / 100))],
    ]);
    // 11 neurons (264) and the low group (128) leave 90 of 482 unspent: two groups and 9 neurons are 472
    const plan = makePlan(spec, allocate({ spec, importance, sparsity: 482 / prunableParameters(spec) }));
    expect(removedParameters(plan, spec)).toBe(472);
    expect(plan.keep).toEqual({ "layers.0.kv": [1], "layers.0.ffn": [9, 10, 11] });
  });
});

describe("allocationByName", () => {
  test.each([
    ["fair", undefined],
    ["learned", "learned needs more than importance scores; decideGprune computes it."],
    ["curves", "curves needs more than importance scores; decideGprune computes it."],
  ])("lists the known names for %s, and says who else can share a budget", (name, hint) => {
    const message = `allocation: expected one of uniform, global, got "${name}"`;
    const error = new GpruneError("BAD_ARGUMENT", message, { hint });
    expect(() => allocationByName(name)).toThrow(error);
  });
});

/** A permutation of a space's units: unit u of the moved space is unit order[u] of the space. */
/** All units in another order, each in its part. */
function shuffled({ id, units, parts }: Space, seed: number): readonly number[] {
  const keys = randomTensor([units], { seed, name: `${id}/order` }).data;
  const partOf = (unit: number): number => Math.floor((unit * parts) / units);
  return Array.from({ length: units }, (_, unit) => unit).sort(
    (a, b) => partOf(a) - partOf(b) || keys[a]! - keys[b]!,
  );
}

function permuted(scores: Float64Array, { unitChannels }: Space, order: readonly number[]): Float64Array {
  return Float64Array.from(
    order.flatMap((unit) => [...scores.slice(unit * unitChannels, (unit + 1) * unitChannels)]),
  );
}
