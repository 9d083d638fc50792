import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { prunableParameters, spacesOf } from "../model/spaces.ts";
import { makePlan, widths } from "./plan.ts";
import { canRemove, removeRanked } from "./ranked.ts";

describe("removeRanked", () => {
  test("takes blocks of equal values in turn, however their means round", () => {
    const spec = tinySpec({
      layers: [
        { neurons: 100, kvGroups: 1 },
        { neurons: 100, kvGroups: 1 },
      ],
    });
    for (const low of [0.3, 0.367380544069706, 0.32786183948383507, 0.7456992929423947]) {
      const ranked = spacesOf(spec).map((s) => {
        const value = s.kind === "kv" ? 10 : low * (s.layer + 1);
        return { space: s, values: new Float64Array(s.units).fill(value) };
      });
      // Of 52 neurons the first block has 4, the others 16.
      const sparsity = (52 * 24) / prunableParameters(spec);
      const keep = removeRanked(ranked, { spec, sparsity, roundTo: 16 });
      expect(widths(makePlan(spec, keep), spec).ffn).toEqual([48, 100]);
    }
  });

  test("fills a rest that is too small for a whole block with a layer's first block, which may be smaller", () => {
    const spec = tinySpec({ layers: [{ neurons: 64 }, { neurons: 61 }] });
    const ranked = spacesOf(spec).map((space) => {
      return { space, values: new Float64Array(space.units).fill(space.kind === "kv" ? 9 : space.layer) };
    });
    const keep = removeRanked(ranked, { spec, sparsity: (13 * 24) / prunableParameters(spec), roundTo: 8 });
    expect(widths(makePlan(spec, keep), spec).ffn).toEqual([56, 56]);
  });

  test("leaves a rest that no block of neurons fits, though a KV group would, while any layer has neurons", () => {
    const spec = tinySpec({
      layers: [
        { neurons: 16, kvGroups: 3 },
        { neurons: 64, kvGroups: 3 },
      ],
    });
    const ranked = spacesOf(spec).map((space) => {
      return { space, values: new Float64Array(space.units).fill(space.kind === "kv" ? 9 : 1) };
    });
    // A block has 384 parameters, a group 192.
    const keep = removeRanked(ranked, {
      spec,
      sparsity: (384 + 300) / prunableParameters(spec),
      roundTo: 16,
    });
    expect(widths(makePlan(spec, keep), spec)).toEqual({ ffn: [16, 48], kv: [3, 3] });
  });

  test("takes a group or a block of neurons by the mean of its values", () => {
    const spec = tinySpec({ layers: [{ neurons: 16, kvGroups: 3 }] });
    const removed = (group: number, neuron: number): readonly (readonly number[])[] => {
      const ranked = spacesOf(spec).map((space) => {
        return { space, values: new Float64Array(space.units).fill(space.kind === "kv" ? group : neuron) };
      });
      // What a group has, and a block.
      const sparsity = 192 / prunableParameters(spec);
      const { ffn, kv } = widths(makePlan(spec, removeRanked(ranked, { spec, sparsity, roundTo: 8 })), spec);
      return [kv, ffn];
    };
    expect(removed(1.1, 1.2)).toEqual([[2], [16]]);
    expect(removed(1.2, 1.1)).toEqual([[3], [8]]);
  });

  test("gives the neurons back that were taken last, in the order of all layers", () => {
    const layer = { neurons: 12, kvGroups: 3, groupSize: 1 };
    const spec = tinySpec({ layers: [layer, layer] });
    // From the dearest on: neuron 10 of layer 1, neurons 10 and 9 of layer 0, neuron 9 of layer 1.
    const last = [
      [3, 4],
      [2, 5],
    ];
    const ranked = spacesOf(spec).map((space) => {
      const value = (unit: number): number => (unit < 9 ? 1 : (last[space.layer]![unit - 9] ?? 6));
      return {
        space,
        values: Float64Array.from({ length: space.units }, (_, unit) =>
          space.kind === "kv" ? 9 : value(unit),
        ),
      };
    });
    // All 22 neurons that may go have 528 parameters, a group 128: two groups need 18 more than there are.
    const keep = removeRanked(ranked, { spec, sparsity: (528 + 2 * 128 - 18) / prunableParameters(spec) });
    expect(keep["layers.0.ffn"]).toEqual([11]);
    expect(keep["layers.1.ffn"]).toEqual([10, 11]);
  });
});

describe("canRemove", () => {
  test("is true up to what leaves one unit in every space", () => {
    const spec = tinySpec({
      layers: [
        { neurons: 10, kvGroups: 2, groupSize: 1 },
        { neurons: 7, kvGroups: 1 },
      ],
    });
    const ranked = spacesOf(spec).map((space) => ({ space, values: new Float64Array(space.units) }));
    const largest = 9 * 24 + 128 + 6 * 24;
    const can = (parameters: number): boolean =>
      canRemove(ranked, { spec, sparsity: parameters / prunableParameters(spec) });
    expect([0, largest - 1, largest, largest + 1].map(can)).toEqual([true, true, true, false]);
  });
});
