import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { momentsOver } from "../../test/moments.ts";
import { maxDifference } from "../../test/numbers.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import type { Moments } from "../calibrate/moments.ts";
import { changeNames } from "../calibrate/slopes.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { OUTPUT_PROJECTION, type Space, spacesOf } from "../model/spaces.ts";
import { takesBias } from "../model/spec.ts";
import { projectionName } from "../model/weight_names.ts";
import { makePlan } from "../prune/plan.ts";
import { loaded } from "../tensor/stash.ts";
import { type Tensor, zeros } from "../tensor/tensor.ts";
import type { Alternatives } from "./alternatives.ts";
import { type Refitted, refitProjections } from "./least_squares.ts";

const runtime = new Runtime({ threads: 1 });
let moments: Moments;
beforeAll(async () => {
  moments = await momentsOver(dense, runtime, sets);
});
afterAll(() => runtime.close());

const dense = tinyModel({
  layers: [
    { neurons: 12, kvGroups: 3 },
    { neurons: 10, biases: ["down_proj"] },
    { neurons: 15, experts: { count: 3, active: 2, normalised: true } },
  ],
  seed: 4,
});
const sets = [
  { name: "a", weight: 2, windows: randomWindows([24, 24, 24], { seed: 1 }) },
  { name: "b", weight: 1, windows: randomWindows([24, 24], { seed: 2 }) },
];

/** A plan, and for each space the present units and alternatives to them. */
const widest: Readonly<Record<string, readonly number[]>> = {
  "layers.0.ffn": [0, 2, 3, 5, 6, 8, 9, 11],
  "layers.0.kv": [0, 2],
  // Of three experts, of five neurons each.
  "layers.2.ffn": [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 14],
};
const alternatives: Alternatives = {
  "layers.0.ffn": [[2, 3, 6, 8, 9], widest["layers.0.ffn"]!, [3, 6]],
  "layers.0.kv": [[0, 2], [0], [2]],
  // The present list may have all of the plan's units.
  "layers.1.ffn": [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 5, 6, 7, 8],
  ],
  "layers.2.ffn": [[0, 1, 3, 5, 7, 9, 10, 11, 12], widest["layers.2.ffn"]!, [1, 3, 5, 9, 10, 12]],
};

async function tensorOf({ tensors }: Refitted, name: string): Promise<Tensor> {
  return loaded(tensors.get(name)!);
}

/** The part of a space that a unit is in. */
function partOf({ units, parts }: Space, unit: number): number {
  return Math.floor((unit * parts) / units);
}

/** Mean variance of the channels of some units, or mean square, of a projection without bias. */
function varianceOf({ id, unitChannels }: Space, units: readonly number[], hasBias: boolean): number {
  const { mean, squares } = moments.get(id)!;
  const channels = units.flatMap((unit) =>
    Array.from({ length: unitChannels }, (_, c) => unit * unitChannels + c),
  );
  const centre = (j: number): number => (hasBias ? mean[j]! : 0);
  return channels.reduce((sum, j) => sum + squares[j]! - centre(j) ** 2, 0) / channels.length;
}

describe("fitAlternatives", () => {
  test.each([
    [1e-6, true],
    [0.2, true],
    [0.2, false],
  ])(
    "fits every width as least squares of that width alone does, ridge %d, biases added: %s",
    async (ridge, addsBiases) => {
      const wide = await refitProjections({
        dense,
        runtime,
        moments,
        alternatives,
        ridge,
        addsBiases,
        plan: makePlan(dense.spec, widest),
      });
      for (const space of spacesOf(dense.spec)) {
        const lists = alternatives[space.id];
        const projection = OUTPUT_PROJECTION[space.kind];
        const [name, biasName] = [
          projectionName(space.layer, projection),
          projectionName(space.layer, projection, "bias"),
        ];
        const names = changeNames(space);
        if (lists === undefined) {
          for (const none of [name, biasName, ...Object.values(names)])
            expect(wide.tensors.has(none)).toBe(false);
          continue;
        }
        const units = widest[space.id] ?? lists[0]!;
        const layer = dense.spec.layers[space.layer]!;
        const hasBias = layer.biases.includes(projection) || (addsBiases && takesBias(layer, projection));
        expect(wide.tensors.has(biasName)).toBe(hasBias);
        const present = {
          weight: await tensorOf(wide, name),
          bias: hasBias ? await tensorOf(wide, biasName) : zeros([dense.spec.hiddenSize]),
        };
        const changes = await Promise.all(
          [names.outputs, names.inputs, names.centres].map((each) => tensorOf(wide, each)),
        );
        const [size, columns] = present.weight.shape as [number, number];
        const { parts } = space;
        const ofPart = columns / parts;
        const count = lists.length - 1;
        const r = changes[0]!.shape.at(-1)!;
        expect(changes.map(({ shape }) => shape)).toEqual([
          [count, parts, size, r],
          [count, parts, r, ofPart],
          [count, parts, 1, r],
        ]);
        /** A row of alternative v's weight, and its bias. */
        const fittedRow = (v: number, row: number): readonly number[] => {
          const weights = present.weight.data.subarray(row * columns, (row + 1) * columns);
          const own = [...weights, present.bias.data[row]!];
          if (v === 0) return own;
          const [outputs, inputs, centres] = changes.map(({ data }) => {
            const length = data.length / count;
            return data.subarray((v - 1) * length, v * length);
          }) as [Float32Array, Float32Array, Float32Array];
          return own.map((value, j) => {
            let sum = value;
            const part = j === columns ? 0 : Math.floor(j / ofPart);
            for (let i = 0; i < r; i++) {
              const factor = j === columns ? -centres[i]! : inputs[(part * r + i) * ofPart + (j % ofPart)]!;
              sum += outputs[(part * size + row) * r + i]! * factor;
            }
            return sum;
          });
        };
        const each = Array.from({ length: parts }, (_, part) => part);
        for (const [v, kept, part] of lists.flatMap((kept, v) =>
          each.map((part) => [v, kept, part] as const),
        )) {
          const plan = makePlan(dense.spec, { [space.id]: kept });
          const isWhole = kept.length === space.units;
          const isOwn = (unit: number): boolean => partOf(space, unit) === part;
          const variance = (list: readonly number[]): number =>
            varianceOf(space, list.filter(isOwn), hasBias);
          // Lambda is that of the present channels.
          const own = (ridge * variance(lists[0]!)) / variance(kept);
          const alone = isWhole
            ? null
            : await refitProjections({ dense, runtime, moments, plan, ridge: own, addsBiases });
          const weight = alone === null ? await dense.weights.read(name) : await tensorOf(alone, name);
          const bias =
            alone === null
              ? null
              : hasBias
                ? await tensorOf(alone, biasName)
                : zeros([dense.spec.hiddenSize]);
          for (let row = 0; row < size; row++) {
            const expected = Array.from({ length: columns }, (_, j) => {
              const unit = kept.indexOf(units[Math.floor(j / space.unitChannels)]!);
              const column = unit * space.unitChannels + (j % space.unitChannels);
              return unit < 0 ? 0 : weight.data[row * weight.shape[1]! + column]!;
            });
            const found = fittedRow(v, row);
            const ofThis = (values: readonly number[]): readonly number[] =>
              values.slice(part * ofPart, (part + 1) * ofPart);
            expect(maxDifference(ofThis(found), ofThis(expected)), `${space.id} ${kept}`).toBeLessThan(1e-3);
            if (bias !== null) expect(Math.abs(found[columns]! - bias.data[row]!)).toBeLessThan(1e-3);
          }
        }
      }
    },
  );

  test("has zeros for units of the plan that are in no list", async () => {
    const tensorsOf = (keep: typeof widest): Promise<Refitted> =>
      refitProjections({ dense, runtime, moments, alternatives, plan: makePlan(dense.spec, keep) });
    const { "layers.0.ffn": units = [], ...others } = widest;
    const [narrow, whole] = [await tensorsOf(widest), await tensorsOf(others)];
    expect([...whole.tensors.keys()]).toEqual([...narrow.tensors.keys()]);
    const spread = new Set([
      projectionName(0, "down_proj"),
      changeNames(spacesOf(dense.spec).find(({ id }) => id === "layers.0.ffn")!).inputs,
    ]);
    for (const name of narrow.tensors.keys()) {
      const [few, all] = [await tensorOf(narrow, name), await tensorOf(whole, name)];
      if (!spread.delete(name)) {
        expect(all, name).toEqual(few);
        continue;
      }
      expect(all.shape).toEqual([...few.shape.slice(0, -1), 12]);
      for (const [i, value] of all.data.entries()) {
        const place = units.indexOf(i % 12);
        expect(value).toBe(place < 0 ? 0 : few.data[Math.floor(i / 12) * units.length + place]);
      }
    }
    expect(spread.size).toBe(0);
  });

  test("gives and takes the dense columns of an expert that no token picked", async () => {
    const { mean, squares, covariance: stored } = moments.get("layers.2.ffn")!;
    const covariance = await loaded(stored);
    const unused = (values: Float32Array | Float64Array): number => (2 * values.length) / 3;
    const withoutLast = {
      mean: mean.slice().fill(0, unused(mean)),
      squares: squares.slice().fill(0, unused(squares)),
      covariance: { ...covariance, data: covariance.data.slice().fill(0, unused(covariance.data)) },
    };
    const refitted = await refitProjections({
      dense,
      runtime,
      alternatives: { "layers.2.ffn": alternatives["layers.2.ffn"]! },
      moments: new Map([["layers.2.ffn", withoutLast]]),
      plan: makePlan(dense.spec, {}),
    });
    const name = projectionName(2, "down_proj");
    const { inputs, outputs } = changeNames(spacesOf(dense.spec).find(({ id }) => id === "layers.2.ffn")!);
    const [{ data: before }, { data: fitted }, more, whence] = [
      await dense.weights.read(name),
      await tensorOf(refitted, name),
      await tensorOf(refitted, outputs),
      await tensorOf(refitted, inputs),
    ];
    // Of the last expert's neurons 10 to 14, 10, 11 and 12 are present, 14 is added and 11 removed.
    const [size, expert] = [dense.spec.hiddenSize, 2];
    for (let row = 0; row < size; row++) {
      const dense = before.subarray(row * 15 + 10, (row + 1) * 15);
      expect([...fitted.subarray(row * 15 + 10, (row + 1) * 15)]).toEqual([...dense.subarray(0, 3), 0, 0]);
      const factors = [0, 1].map((v) => more.data[(v * 3 + expert) * size + row]);
      expect(factors[0]).toBeCloseTo(dense[4]!, 6);
      expect(factors[1]).toBeCloseTo(-dense[1]!, 6);
    }
    const rows = [0, 1].map((v) => [...whence.data.subarray((v * 3 + expert) * 5, (v * 3 + expert + 1) * 5)]);
    expect(rows).toEqual(
      [
        [-0, -0, -0, 0, 1],
        [0, 1, 0, 0, 0],
      ].map((row) => row.map((value) => expect.closeTo(value, 6))),
    );
  });

  test("refuses an alternative that only exchanges units", async () => {
    const swapped = { "layers.0.kv": [[0], [2]] };
    const plan = makePlan(dense.spec, widest);
    await expect(refitProjections({ dense, runtime, moments, plan, alternatives: swapped })).rejects.toThrow(
      "neither more nor fewer",
    );
  });

  test("refuses units that are removed", async () => {
    const wrong = { "layers.0.kv": [[0, 1], [0]] };
    const plan = makePlan(dense.spec, widest);
    await expect(refitProjections({ dense, runtime, moments, plan, alternatives: wrong })).rejects.toThrow(
      "unit 1 of an alternative is removed",
    );
  });
});
