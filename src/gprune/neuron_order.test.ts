import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import type { SlopeStats } from "../calibrate/slopes.ts";
import type { ExpertsSpec } from "../model/experts_spec.ts";
import { reorderedNeurons } from "./neuron_order.ts";

function measured(...sets: readonly Readonly<Record<string, readonly number[]>>[]): Map<string, SlopeStats> {
  return new Map(
    sets.map((own, index) => {
      const neurons = Object.entries(own).map(([id, values]) => [id, Float64Array.from(values)] as const);
      return [`set${index}`, { windows: 1, loss: 1, spaces: new Map(), neurons: new Map(neurons) }];
    }),
  );
}

/** The first layer's neurons in an order. */
function ordered(neurons: readonly number[], experts?: ExpertsSpec): Parameters<typeof reorderedNeurons>[0] {
  const order = new Map([
    ["layers.0.ffn", neurons],
    ["layers.0.kv", [1, 0]],
  ]);
  return {
    spec: tinySpec({ layers: [{ neurons: neurons.length, kvGroups: 2, ...(experts && { experts }) }] }),
    order,
  };
}

const EQUAL = new Map([
  ["set0", 1],
  ["set1", 1],
]);

describe("reorderedNeurons", () => {
  test("keeps the order where the squared gradients agree with it, are all zero or are missing", () => {
    const learned = ordered([3, 1, 0, 2]);
    const sets: readonly Readonly<Record<string, readonly number[]>>[] = [
      { "layers.0.ffn": [5, 2, 9, 1] },
      { "layers.0.ffn": [0, 0, 0, 0] },
      {},
    ];
    for (const own of sets) {
      const order = Object.fromEntries(reorderedNeurons(learned, measured(own), EQUAL));
      expect(order).toEqual({ "layers.0.kv": [1, 0], "layers.0.ffn": [3, 1, 0, 2] });
    }
  });

  test("puts a neuron at the mean of its place in the order and of what the loss says, on the loss's scale", () => {
    const order = ordered([0, 1, 2, 3]);
    // Neuron 0 goes first by the order, and is worth most. Sums of logarithms: 0 with 1 and 8, 1 with 2 and 1, 2 with 4
    // and 2, 3 with 8 and 4.
    const own = measured({ "layers.0.ffn": [8, 1, 2, 4] });
    expect(reorderedNeurons(order, own, EQUAL).get("layers.0.ffn")).toEqual([1, 0, 2, 3]);
  });

  test("counts sets by their weights, not by how large their gradients are", () => {
    const order = ordered([0, 1, 2]);
    const sets = measured({ "layers.0.ffn": [100, 1, 2] }, { "layers.0.ffn": [1e6, 2e6, 3e6] });
    const orderWith = (weight: number): readonly number[] | undefined => {
      return reorderedNeurons(order, sets, new Map(EQUAL).set("set1", weight)).get("layers.0.ffn");
    };
    expect(orderWith(1)).toEqual([1, 0, 2]);
    expect(orderWith(50)).toEqual([0, 1, 2]);
    const [first, second] = [
      [100, 1, 2],
      [1, 2, 3],
    ];
    for (const scale of [1e-6, 1, 1e6]) {
      const scaled = measured(
        { "layers.0.ffn": first! },
        { "layers.0.ffn": second!.map((value) => scale * value) },
      );
      expect(reorderedNeurons(order, scaled, EQUAL).get("layers.0.ffn")).toEqual([1, 0, 2]);
      expect(reorderedNeurons(order, scaled, new Map(EQUAL).set("set1", 50)).get("layers.0.ffn")).toEqual([
        0, 1, 2,
      ]);
    }
  });

  test("learns nothing from a set whose gradients are all zero", () => {
    const order = ordered([0, 1, 2, 3]);
    const own = { "layers.0.ffn": [8, 1, 2, 4] };
    const zero = { "layers.0.ffn": [0, 0, 0, 0] };
    expect(reorderedNeurons(order, measured(own, zero), EQUAL)).toEqual(
      reorderedNeurons(order, measured(own), EQUAL),
    );
  });

  test("ranks the neurons of every expert by themselves, and gives the experts turns", () => {
    const experts = { count: 2, active: 1, normalised: true };
    const learned = ordered([4, 0, 5, 1, 6, 2, 7, 3], experts);
    // The second expert's gradients are a hundred times the first's.
    const own = measured({ "layers.0.ffn": [8, 1, 2, 4, 100, 200, 400, 800] });
    expect(reorderedNeurons(learned, own, EQUAL).get("layers.0.ffn")).toEqual([1, 4, 0, 5, 2, 6, 3, 7]);
  });

  test("is a permutation, and what is last by both stays last, whatever values are", () => {
    const values = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(values, fc.nat(), (own, seed) => {
        const units = own.map((_, unit) => unit);
        const order = units.toSorted((a, b) => ((a * 7 + seed) % 13) - ((b * 7 + seed) % 13));
        const values = measured({ "layers.0.ffn": own });
        const result = reorderedNeurons(ordered(order), values, EQUAL).get("layers.0.ffn")!;
        expect([...result].sort((a, b) => a - b)).toEqual(units);
        const most = own.indexOf(Math.max(...own));
        if (order.at(-1) === most) expect(result.at(-1)).toBe(most);
      }),
    );
  });
});
