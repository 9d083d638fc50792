import fc from "fast-check";
import { expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { layersParameters } from "../model/parameter_counts.ts";
import { spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { achievedSparsity, makePlan, prunedSpec } from "./plan.ts";
import { leftInLayers, leftInOutputs } from "./remaining.ts";

function outputsOf(spec: ModelSpec): number {
  return spacesOf(spec).reduce(
    (sum, { units, unitChannels }) => sum + units * unitChannels * spec.hiddenSize,
    0,
  );
}

test.each([1, 2, 4])(
  "no plan leaves more than is counted, with %i query heads in a KV group",
  (groupSize) => {
    const layer = { neurons: 12, kvGroups: 4, groupSize };
    const spec = tinySpec({ layers: [layer, { ...layer, neurons: 7 }] });
    const spaces = spacesOf(spec);
    const widths = fc.tuple(...spaces.map(({ units }) => fc.integer({ min: 1, max: units })));
    fc.assert(
      fc.property(widths, (kept) => {
        const keep = spaces.map(({ id }, index) => [id, Array.from({ length: kept[index]! }, (_, u) => u)]);
        const plan = makePlan(spec, Object.fromEntries(keep));
        const sparsity = achievedSparsity(plan, spec);
        const left = prunedSpec(spec, plan);
        expect(leftInLayers(spec, sparsity)).toBeCloseTo(layersParameters(left), 6);
        expect(leftInOutputs(spec, sparsity)).toBeGreaterThanOrEqual(outputsOf(left) - 1e-6);
        expect(leftInOutputs(spec, sparsity)).toBeLessThanOrEqual(outputsOf(spec));
      }),
    );
  },
);

test.each([1, 2, 4])(
  "one kind of units alone leaves as much as is counted in output projections, with %i query heads in a KV group",
  (groupSize) => {
    const layer = { neurons: 12, kvGroups: 4, groupSize };
    const spec = tinySpec({ layers: [layer, layer] });
    const excesses = ["kv", "ffn"].map((kind) => {
      const plan = makePlan(spec, { [`layers.0.${kind}`]: [0] });
      return leftInOutputs(spec, achievedSparsity(plan, spec)) - outputsOf(prunedSpec(spec, plan));
    });
    expect(Math.min(...excesses)).toBeCloseTo(0, 6);
  },
);
