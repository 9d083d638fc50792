import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomTensor, tinySpec } from "../../test/tiny_model.ts";
import { prunableParameters, spacesOf } from "../model/spaces.ts";
import { hasUniformWidths, type ModelSpec } from "../model/spec.ts";
import { ALLOCATIONS } from "./allocate.ts";
import { uniform } from "./allocate_uniform.ts";
import type { RemovalRequest } from "./allocation.ts";
import { type Keep, makePlan, prunedSpec, removedParameters, validatePlan } from "./plan.ts";
import { removeRanked } from "./ranked.ts";
import type { RankedSpace } from "./removal.ts";
import { removeUniform, uniformOutcomes } from "./uniform_shape.ts";

const NEURON = 24;
const GROUP = 192;

/** Models of equal layers: C 8, so a neuron has 24 parameters and a KV group of two heads 192. */
const specs = fc
  .record({
    layers: fc.integer({ min: 1, max: 4 }),
    neurons: fc.integer({ min: 2, max: 60 }),
    kvGroups: fc.integer({ min: 1, max: 5 }),
  })
  .map(({ layers, ...widths }) => tinySpec({ layers: Array.from({ length: layers }, () => widths) }));
const fractions = fc.double({ min: 0, max: 1, noNaN: true });
const roundings = fc.constantFrom(1, 2, 8);

function randomRanking(spec: ModelSpec, seed: number): readonly RankedSpace[] {
  return spacesOf(spec).map((space) => {
    const { data } = randomTensor([space.units], { seed, name: space.id, centre: 0.5 });
    return { space, values: Float64Array.from(data) };
  });
}

/** A request for a part of what can go at all. */
function requestFor(spec: ModelSpec, part: number, roundTo: number): RemovalRequest {
  const removable = spacesOf(spec).reduce((sum, { kind, units, unitParameters }) => {
    return sum + Math.max(0, units - (kind === "ffn" ? roundTo : 1)) * unitParameters;
  }, 0);
  return { spec, roundTo, shape: "uniform", sparsity: (part * removable) / prunableParameters(spec) };
}

/** What is asked for and not removed, in parameters. */
function unspent({ spec, sparsity }: RemovalRequest, keep: Keep): number {
  return sparsity * prunableParameters(spec) - removedParameters(makePlan(spec, keep), spec);
}

describe("removeUniform", () => {
  it("gives every layer the same widths and never removes more than the budget", () => {
    fc.assert(
      fc.property(specs, fc.nat(), fractions, roundings, (spec, seed, part, roundTo) => {
        const request = requestFor(spec, part, roundTo);
        const keep = removeRanked(randomRanking(spec, seed), request);
        const plan = makePlan(spec, keep);
        expect(validatePlan(plan, spec)).toEqual({ ok: true });
        const { layers } = prunedSpec(spec, plan);
        expect(hasUniformWidths({ ...spec, layers })).toBe(true);
        expect(unspent(request, keep)).toBeGreaterThanOrEqual(-0.5);
        const { neurons } = layers[0]!;
        expect(neurons % roundTo === 0 || neurons === spec.layers[0]!.neurons).toBe(true);
        expect(uniformOutcomes(request).map(({ layers: [layer] }) => layer)).toContainEqual(layers[0]);
      }),
    );
  });

  it("leaves less than a neuron a layer unspent wherever neurons are there to fill it", () => {
    fc.assert(
      fc.property(specs, fc.nat(), fractions, roundings, (spec, seed, part, roundTo) => {
        const { neurons } = spec.layers[0]!;
        fc.pre((Math.ceil(neurons / roundTo) - 1) * roundTo * NEURON >= GROUP);
        const request = requestFor(spec, part, roundTo);
        const keep = removeUniform(randomRanking(spec, seed), request);
        expect(unspent(request, keep)).toBeLessThan(spec.layers.length * roundTo * NEURON);
      }),
    );
  });

  it("loses the least value times parameters of all splits, and the least units of every space", () => {
    fc.assert(
      fc.property(specs, fc.nat(), fractions, (spec, seed, part) => {
        const request = requestFor(spec, part, 1);
        const ranked = randomRanking(spec, seed);
        const lost = (keep: Keep): number =>
          ranked.reduce((sum, { space, values }) => {
            const kept = new Set(keep[space.id] ?? values.keys());
            return (
              sum + values.reduce((s, v, unit) => s + (kept.has(unit) ? 0 : v), 0) * space.unitParameters
            );
          }, 0);
        const naive = uniformOutcomes(request).map(({ layers: [layer] }) =>
          lost(
            Object.fromEntries(
              ranked.map(({ space, values }) => {
                const order = [...values.keys()].sort((a, b) => values[a]! - values[b]! || a - b);
                return [
                  space.id,
                  order.slice(space.units - (space.kind === "ffn" ? layer!.neurons : layer!.kvGroups)),
                ];
              }),
            ),
          ),
        );
        expect(lost(removeUniform(ranked, request))).toBeCloseTo(Math.min(...naive), 6);
      }),
    );
  });

  it("refuses layers that differ, and more than can go", () => {
    const uneven = tinySpec({ layers: [{}, { neurons: 5 }] });
    expect(() => removeUniform(randomRanking(uneven, 0), requestFor(uneven, 0.5, 1))).toThrow(
      "shape: expected per-layer for layers that differ in width, got uniform",
    );
    const request = { ...requestFor(tinySpec(), 1, 1), sparsity: 0.99 };
    expect(() => uniformOutcomes(request)).toThrow("sparsity: expected at most");
  });
});

describe.each(ALLOCATIONS)("allocation $name with shape uniform", ({ allocate }) => {
  it("gives every layer the same widths within the budget", () => {
    fc.assert(
      fc.property(specs, fractions, roundings, (spec, part, roundTo) => {
        const request = requestFor(spec, part, roundTo);
        const scores = spacesOf(spec).map(({ id, units, unitChannels }) => {
          const { data } = randomTensor([units * unitChannels], { name: id, centre: 0.5 });
          return [id, Float64Array.from(data)] as const;
        });
        const keep = allocate({ ...request, importance: new Map(scores) });
        expect(hasUniformWidths(prunedSpec(spec, makePlan(spec, keep)))).toBe(true);
        expect(unspent(request, keep)).toBeGreaterThanOrEqual(-0.5);
      }),
    );
  });
});

it("allocation uniform takes about the same fraction of attention and FFN", () => {
  const spec = tinySpec({ layers: [{ neurons: 80, kvGroups: 10 }] });
  const importance = new Map(
    spacesOf(spec).map(
      ({ id, units, unitChannels }) => [id, new Float64Array(units * unitChannels)] as const,
    ),
  );
  const keep = uniform.allocate({ spec, importance, sparsity: 0.3, shape: "uniform" });
  expect(prunedSpec(spec, makePlan(spec, keep)).layers[0]).toMatchObject({ neurons: 56, kvGroups: 7 });
});
