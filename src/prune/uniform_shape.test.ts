import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomTensor, tinyConvolution, tinyDelta, tinyMamba, tinySpec } from "../../test/tiny_model.ts";
import { prunableParameters, spacesOf } from "../model/spaces.ts";
import { hasUniformWidths, type LayerSpec, type ModelSpec } from "../model/spec.ts";
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
    convolutions: fc.integer({ min: 0, max: 2 }),
    deltas: fc.integer({ min: 0, max: 2 }),
    mambas: fc.integer({ min: 0, max: 2 }),
    gatedAttention: fc.constantFrom<ModelSpec["gatedAttention"]>(false, "q_proj", "gate_proj", "head_gates"),
  })
  .map(({ layers, convolutions, deltas, mambas, gatedAttention, ...widths }) => {
    const convolution = tinyConvolution({ length: 3, biases: false }, widths.neurons);
    return tinySpec({
      gatedAttention,
      layers: [
        ...Array.from({ length: layers }, () => widths),
        ...Array.from({ length: convolutions }, () => convolution),
        ...Array.from({ length: deltas }, () => tinyDelta({}, widths.neurons)),
        ...Array.from({ length: mambas }, () => tinyMamba({}, widths.neurons)),
      ],
    });
  });
const fractions = fc.double({ min: 0, max: 1, noNaN: true });
const roundings = fc.constantFrom(1, 2, 8);

function randomRanking(spec: ModelSpec, seed: number): readonly RankedSpace[] {
  return spacesOf(spec).map((space) => {
    const { data } = randomTensor([space.units], { seed, name: space.id, centre: 0.5 });
    return { space, values: Float64Array.from(data) };
  });
}

/** A request for a fraction of the parameters that can be removed. */
function requestFor(spec: ModelSpec, part: number, roundTo: number): RemovalRequest {
  const removable = spacesOf(spec).reduce((sum, { kind, units, unitParameters }) => {
    return sum + Math.max(0, units - (kind === "ffn" ? roundTo : 1)) * unitParameters;
  }, 0);
  return { spec, roundTo, shape: "uniform", sparsity: (part * removable) / prunableParameters(spec) };
}

/** Prunable parameters that every number of groups and of neurons would leave. */
function groupsAndBlocks(spec: ModelSpec, roundTo: number): readonly number[] {
  const { neurons, kvGroups } = spec.layers[0]!;
  const widths = [neurons];
  for (let width = (Math.ceil(neurons / roundTo) - 1) * roundTo; width >= 1; width -= roundTo)
    widths.push(width);
  return widths.flatMap((width) =>
    Array.from({ length: kvGroups }, (_, gone) =>
      prunableParameters({
        ...spec,
        layers: spec.layers.map((layer) => ({
          ...layer,
          neurons: width,
          kvGroups: layer.mixer ? 0 : kvGroups - gone,
        })),
      }),
    ),
  );
}

/** Unspent budget, in parameters. */
function unspent({ spec, sparsity }: RemovalRequest, keep: Keep): number {
  return sparsity * prunableParameters(spec) - removedParameters(makePlan(spec, keep), spec);
}

describe("removeUniform", () => {
  test("gives every layer the same widths and never removes more than the budget", () => {
    fc.assert(
      fc.property(specs, fc.nat(), fractions, roundings, (spec, seed, part, roundTo) => {
        const request = requestFor(spec, part, roundTo);
        const keep = removeRanked(randomRanking(spec, seed), request);
        const plan = makePlan(spec, keep);
        expect(validatePlan(plan, spec)).toEqual({ ok: true });
        const { layers } = prunedSpec(spec, plan);
        expect(hasUniformWidths({ ...spec, layers })).toBe(true);
        expect(unspent(request, keep)).toBeGreaterThanOrEqual(-0.01);
        const { neurons } = layers[0]!;
        expect(neurons % roundTo === 0 || neurons === spec.layers[0]!.neurons).toBe(true);
        expect(uniformOutcomes(request).map(({ layers: [layer] }) => layer)).toContainEqual(layers[0]);
      }),
    );
  });

  test("takes more in proportion from layers that are wider by design, so that they stay so", () => {
    const local = { neurons: 20, kvGroups: 4, groupSize: 1 };
    const global = { neurons: 20, kvGroups: 2, groupSize: 2, headDim: 6, valuesAreKeys: true } as const;
    const wide = {
      neurons: 40,
      kvGroups: 4,
      groupSize: 1,
      kvSharing: { role: "reader", source: 0 },
    } as const;
    const source = { ...local, kvSharing: { role: "source" } } as const;
    fc.assert(
      fc.property(fc.boolean(), fc.nat(), fractions, roundings, (shares, seed, part, roundTo) => {
        const spec = tinySpec({ layers: shares ? [source, local, wide] : [local, global] });
        const request = requestFor(spec, part * 0.9, roundTo);
        const { layers } = prunedSpec(
          spec,
          makePlan(spec, removeUniform(randomRanking(spec, seed), request)),
        );
        expect(hasUniformWidths({ layers })).toBe(true);
        const [first] = layers as [LayerSpec];
        expect(layers.map(({ neurons }) => neurons / first.neurons)).toEqual(shares ? [1, 1, 2] : [1, 1]);
        expect(layers.map(({ kvGroups }) => kvGroups / first.kvGroups)).toEqual(
          shares ? [1, 1, 1] : [1, 0.5],
        );
        if (shares) expect(first.kvGroups).toBe(4);
        expect(uniformOutcomes(request).map((outcome) => outcome.layers)).toContainEqual(layers);
      }),
    );
  });

  test("takes about as much in proportion from layers whose widths are no multiples of each other", () => {
    const experts = { count: 2, active: 1, normalised: true };
    const spec = tinySpec({ layers: [{ neurons: 20 }, { neurons: 2 * 13, experts }, { neurons: 20 }] });
    fc.assert(
      fc.property(fc.nat(), fractions, roundings, (seed, part, roundTo) => {
        const request = requestFor(spec, part * 0.7, roundTo);
        const keep = removeUniform(randomRanking(spec, seed), request);
        const { layers } = prunedSpec(spec, makePlan(spec, keep));
        expect(hasUniformWidths({ layers })).toBe(true);
        expect(uniformOutcomes(request).map((outcome) => outcome.layers)).toContainEqual(layers);
        const [wide, narrow] = [layers[0]!.neurons, layers[1]!.neurons / experts.count];
        expect([20, 13, ...[wide, narrow].filter((width) => width % roundTo === 0)]).toEqual(
          expect.arrayContaining([wide, narrow]),
        );
        if (wide > roundTo && wide < 20) {
          expect(Math.abs(wide - (narrow / 13) * 20)).toBeLessThanOrEqual(roundTo / 2);
        }
        // A neuron of an expert goes with one or two of each other layer.
        if (roundTo === 1) expect(unspent(request, keep)).toBeLessThan((2 + 2 * 2) * NEURON);
      }),
    );
  });

  test("FFNs are of one kind with as many experts, in layers that all read keys of another or none", () => {
    const uniformWith = (neurons: number, changes: Partial<LayerSpec>): boolean =>
      hasUniformWidths(tinySpec({ layers: [{ neurons: 8 }, { neurons, ...changes }] }));
    const experts = { count: 2, active: 1, normalised: true };
    expect(uniformWith(6, {})).toBe(false);
    expect(uniformWith(6, { experts })).toBe(true);
    expect(uniformWith(6, { kvSharing: { role: "reader", source: 0 } })).toBe(true);
    expect(uniformWith(6, { kvSharing: { role: "source" } })).toBe(false);
    expect(uniformWith(8, { kvSharing: { role: "source" } })).toBe(true);
  });

  test("leaves less than a neuron a layer unspent wherever neurons are there to fill it", () => {
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

  test("loses the least value times parameters of all splits, as if the rest were spent on neurons, and the least units of every space", () => {
    fc.assert(
      fc.property(specs, fc.nat(), fractions, roundings, (spec, seed, part, roundTo) => {
        const request = requestFor(spec, part, roundTo);
        const ranked = randomRanking(spec, seed);
        /** Value times parameters of the units of one kind that are missing in every layer. */
        const lost = (kind: string, kept: number): number =>
          ranked
            .filter(({ space }) => space.kind === kind)
            .reduce((sum, { space, values }) => {
              const gone = values.toSorted().slice(0, space.units - kept);
              return sum + gone.reduce((all, value) => all + value, 0) * space.unitParameters;
            }, 0);
        const loss = ({ neurons, kvGroups }: LayerSpec): number => {
          const layers = spec.layers.map((layer) => ({ ...layer, neurons, kvGroups }));
          const left =
            prunableParameters({ ...spec, layers }) - (1 - request.sparsity) * prunableParameters(spec);
          // The first block has the neurons that fill no whole block.
          const fewer = (Math.ceil(neurons / roundTo) - 1) * roundTo;
          const cost = (neurons - fewer) * NEURON * layers.length;
          const more =
            fewer < 1 ? 0 : (lost("ffn", fewer) - lost("ffn", neurons)) * (Math.max(0, left) / cost);
          return lost("ffn", neurons) + lost("kv", kvGroups) + more;
        };
        const least = Math.min(...uniformOutcomes(request).map(({ layers: [layer] }) => loss(layer!)));
        const keep = removeUniform(ranked, request);
        expect(loss(prunedSpec(spec, makePlan(spec, keep)).layers[0]!)).toBeCloseTo(least, 6);
        for (const { space, values } of ranked) {
          const kept = new Set(keep[space.id] ?? values.keys());
          const gone = [...values.keys()].filter((unit) => !kept.has(unit));
          const stays = Math.min(...Array.from(kept, (unit) => values[unit]!));
          for (const unit of gone) expect(values[unit]!).toBeLessThanOrEqual(stays);
        }
      }),
    );
  });

  test("weighs the unspent budget as neurons, by their own values", () => {
    // A block of neurons has 384 parameters, a KV group 192. Of 575 parameters one block or two groups leave 191.
    const spec = tinySpec({ layers: [{ neurons: 64, kvGroups: 4 }] });
    const values = {
      ffn: Float64Array.from({ length: 64 }, (_, unit) => [1, 10, 100, 100][Math.floor(unit / 16)]!),
      kv: Float64Array.of(1.5, 1.5, 100, 100),
    };
    const ranked = spacesOf(spec).map((space) => ({ space, values: values[space.kind] }));
    const request = { spec, roundTo: 16, sparsity: 575 / prunableParameters(spec) };
    // The block alone is cheaper, but the next one would be dear.
    expect(removeUniform(ranked, request)).toEqual({ "layers.0.kv": [2, 3] });
  });

  test("takes groups that hardly matter, though a block of neurons would come nearer to the budget", () => {
    const spec = tinySpec({ layers: [{ neurons: 64, kvGroups: 4, groupSize: 1 }] });
    const ranked = spacesOf(spec).map((space) => {
      return { space, values: new Float64Array(space.units).fill(space.kind === "kv" ? 0.01 : 1) };
    });
    // Of 600 parameters, a block (384) and a group (128) leave 88; three groups leave 216, less than half a block more.
    const request = { spec, roundTo: 16, sparsity: 600 / prunableParameters(spec) };
    expect(removeUniform(ranked, request)).toEqual({ "layers.0.kv": [3] });
  });

  test("comes within half a block a layer of the nearest it could, and removes groups where no block of neurons fits", () => {
    fc.assert(
      fc.property(specs, fc.nat(), fractions, fc.constantFrom(8, 16, 64), (spec, seed, part, roundTo) => {
        const request = requestFor(spec, part, roundTo);
        const rests = groupsAndBlocks(spec, roundTo)
          .map((left) => left - (1 - request.sparsity) * prunableParameters(spec))
          .filter((rest) => rest > -0.5);
        const rest = unspent(request, removeUniform(randomRanking(spec, seed), request));
        const half = (spec.layers.length * roundTo * NEURON) / 2;
        expect(rest).toBeLessThanOrEqual(Math.min(...rests) + half + 1e-6);
      }),
    );
    const spec = tinySpec({ layers: [{ neurons: 16, kvGroups: 4 }] });
    const request: RemovalRequest = { spec, roundTo: 64, shape: "uniform", sparsity: 0.25 };
    expect(removeUniform(randomRanking(spec, 0), request)["layers.0.kv"]).toHaveLength(3);
  });

  test("refuses layers that differ, and more than can go", () => {
    const uneven = tinySpec({ layers: [{}, { neurons: 5 }] });
    expect(() => removeUniform(randomRanking(uneven, 0), requestFor(uneven, 0.5, 1))).toThrow(
      "shape: expected per-layer for a model whose layers differ in width, got uniform",
    );
    const request = { ...requestFor(tinySpec(), 1, 1), sparsity: 0.99 };
    expect(() => uniformOutcomes(request)).toThrow("sparsity: expected at most");
  });
});

describe.each(ALLOCATIONS)("allocation $name with shape uniform", ({ allocate }) => {
  test("gives every layer the same widths within the budget", () => {
    fc.assert(
      fc.property(specs, fractions, roundings, (spec, part, roundTo) => {
        const request = requestFor(spec, part, roundTo);
        const scores = spacesOf(spec).map(({ id, units, unitChannels }) => {
          const { data } = randomTensor([units * unitChannels], { name: id, centre: 0.5 });
          return [id, Float64Array.from(data)] as const;
        });
        const keep = allocate({ ...request, importance: new Map(scores) });
        expect(hasUniformWidths(prunedSpec(spec, makePlan(spec, keep)))).toBe(true);
        expect(unspent(request, keep)).toBeGreaterThanOrEqual(-0.01);
      }),
    );
  });
});

test("allocation uniform takes about the same fraction of attention and FFN", () => {
  const spec = tinySpec({ layers: [{ neurons: 80, kvGroups: 10 }] });
  const importance = new Map(
    spacesOf(spec).map(
      ({ id, units, unitChannels }) => [id, new Float64Array(units * unitChannels)] as const,
    ),
  );
  const keep = uniform.allocate({ spec, importance, sparsity: 0.3, shape: "uniform" });
  expect(prunedSpec(spec, makePlan(spec, keep)).layers[0]).toMatchObject({ neurons: 56, kvGroups: 7 });
});
