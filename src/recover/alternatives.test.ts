import { afterAll, describe, expect, it } from "vitest";
import { maxDifference } from "../../test/numbers.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { changeNames } from "../calibrate/slopes.ts";
import { Runtime } from "../graph/runtime.ts";
import { OUTPUT_PROJECTION, projectionName, spacesOf } from "../model/spaces.ts";
import { makePlan } from "../prune/plan.ts";
import { loaded } from "../tensor/stash.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Alternatives } from "./alternatives.ts";
import { type Refitted, refitProjections } from "./least_squares.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const dense = tinyModel({
  layers: [
    { neurons: 12, kvGroups: 3 },
    { neurons: 10, biases: ["down_proj"] },
  ],
  seed: 4,
});
const sets = [
  { name: "a", weight: 2, windows: randomWindows([24, 24, 24], { seed: 1 }) },
  { name: "b", weight: 1, windows: randomWindows([24, 24], { seed: 2 }) },
];

/** What stays at most, and in each space what stays now and what might instead. */
const widest: Readonly<Record<string, readonly number[]>> = {
  "layers.0.ffn": [0, 2, 3, 5, 6, 8, 9, 11],
  "layers.0.kv": [0, 2],
};
const alternatives: Alternatives = {
  "layers.0.ffn": [[2, 3, 6, 8, 9], widest["layers.0.ffn"]!, [3, 6]],
  "layers.0.kv": [[0], [2], [0, 2]],
  // Of which the present list may be everything there is.
  "layers.1.ffn": [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 5, 6, 7, 8],
  ],
};

async function tensorOf({ tensors }: Refitted, name: string): Promise<Tensor> {
  return loaded(tensors.get(name)!);
}

describe("fitAlternatives", () => {
  it("fits every width as least squares of that width alone does", async () => {
    const wide = await refitProjections({
      ...{ dense, runtime, sets, alternatives },
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
        for (const none of [name, biasName, names.weights, names.biases])
          expect(wide.tensors.has(none)).toBe(false);
        continue;
      }
      const units = widest[space.id] ?? lists[0]!;
      const present = { weight: await tensorOf(wide, name), bias: await tensorOf(wide, biasName) };
      const changes = {
        weight: await tensorOf(wide, names.weights),
        bias: await tensorOf(wide, names.biases),
      };
      const [size, columns] = present.weight.shape as [number, number];
      expect(changes.weight.shape).toEqual([lists.length - 1, size, columns]);
      expect(changes.bias.shape).toEqual([lists.length - 1, 1, size]);
      for (const [v, kept] of lists.entries()) {
        const plan = makePlan(dense.spec, { [space.id]: kept });
        const alone =
          kept.length === space.units ? null : await refitProjections({ dense, runtime, sets, plan });
        const weight = alone === null ? await dense.weights.read(name) : await tensorOf(alone, name);
        const bias = alone === null ? null : await tensorOf(alone, biasName);
        const moved = (key: "weight" | "bias", at: number): number => {
          const change = v === 0 ? 0 : changes[key].data[(v - 1) * present[key].data.length + at]!;
          return present[key].data[at]! + change;
        };
        const expected: number[] = [];
        const found: number[] = [];
        for (let row = 0; row < size; row++) {
          for (let j = 0; j < columns; j++) {
            const unit = units[Math.floor(j / space.unitChannels)]!;
            const column = kept.indexOf(unit) * space.unitChannels + (j % space.unitChannels);
            expected.push(kept.includes(unit) ? weight.data[row * weight.shape[1]! + column]! : 0);
            found.push(moved("weight", row * columns + j));
          }
          if (bias === null) continue;
          expected.push(bias.data[row]!);
          found.push(moved("bias", row));
        }
        expect(maxDifference(found, expected), `${space.id} ${kept}`).toBeLessThan(2e-4);
      }
    }
  });

  it("refuses units that are removed", async () => {
    const wrong = { "layers.0.kv": [[0, 1], [0]] };
    const plan = makePlan(dense.spec, widest);
    await expect(refitProjections({ dense, runtime, sets, plan, alternatives: wrong })).rejects.toThrow(
      "unit 1 of an alternative is removed",
    );
  });
});
