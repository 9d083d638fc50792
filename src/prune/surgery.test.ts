import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { plansFor, tensorsOf, tinyOptions } from "../../test/plans.ts";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import type { Model } from "../model/model.ts";
import { spacesOf } from "../model/spaces.ts";
import { weightsOf } from "../model/weights.ts";
import { sliceRows } from "../tensor/memory.ts";
import type { RowRange, Tensor } from "../tensor/tensor.ts";
import { keepAll, makePlan, type PruningPlan } from "./plan.ts";
import { applyPlan } from "./surgery.ts";

const modelsAndPlans = tinyOptions
  .map(tinyModel)
  .chain((model) => plansFor(model.spec).map((plan) => ({ model, plan })));

/** Keeps the elements whose every index lies in a kept unit, one element at a time. */
function naiveGather(
  tensor: Tensor,
  name: string,
  { model, plan }: { model: Model; plan: PruningPlan },
): Tensor {
  const { axes } = weightsOf(model.spec).find((weight) => weight.name === name)!;
  const kept = tensor.shape.map((size, axis) => {
    const { space, blockSize } = axes[axis]!;
    const units = space === null ? undefined : plan.keep[space];
    const indices = Array.from({ length: size }, (_, i) => i);
    return units === undefined ? indices : indices.filter((i) => units.includes(Math.floor(i / blockSize)));
  });
  const shape = kept.map((indices) => indices.length);
  const places = kept.reduce(
    (starts, indices, axis) => {
      return starts.flatMap((start) => indices.map((i) => start * tensor.shape[axis]! + i));
    },
    [0],
  );
  return { shape, data: Float32Array.from(places, (place) => tensor.data[place]!) };
}

describe("applyPlan", () => {
  test("equals a naive gather, tensor for tensor, in the shapes of the new spec", async () => {
    await fc.assert(
      fc.asyncProperty(modelsAndPlans, async ({ model, plan }) => {
        const pruned = applyPlan(model, plan);
        for (const { name, shape } of weightsOf(pruned.spec)) {
          expect(pruned.weights.info(name)).toEqual({ dtype: "F32", shape });
          const expected = naiveGather(await model.weights.read(name), name, { model, plan });
          expect(await pruned.weights.read(name)).toEqual(expected);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("reads rows as it reads the whole", async () => {
    await fc.assert(
      fc.asyncProperty(
        modelsAndPlans,
        fc.float({ min: 0, max: 1, noNaN: true }),
        async ({ model, plan }, cut) => {
          const { weights, spec } = applyPlan(model, plan);
          for (const { name, shape } of weightsOf(spec)) {
            const middle = Math.round(cut * shape[0]!);
            const whole = await weights.read(name);
            for (const rows of [
              { start: 0, end: middle },
              { start: middle, end: shape[0]! },
            ]) {
              expect(await weights.read(name, rows)).toEqual(sliceRows(whole, rows, name));
            }
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test("is the identity bit for bit when everything is kept, by absence or by name", async () => {
    await fc.assert(
      fc.asyncProperty(tinyOptions.map(tinyModel), async (model) => {
        const units = (count: number): number[] => Array.from({ length: count }, (_, unit) => unit);
        const named = Object.fromEntries(spacesOf(model.spec).map((space) => [space.id, units(space.units)]));
        const before = await tensorsOf(model);
        for (const plan of [keepAll(model.spec), makePlan(model.spec, named)]) {
          const same = applyPlan(model, plan);
          expect(same.spec).toEqual(model.spec);
          for (const [name, tensor] of await tensorsOf(same)) {
            expect(bits(tensor)).toEqual(bits(before.get(name)!));
            expect(tensor).toBe(await model.weights.read(name));
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  test("reads only the stored rows that the wanted rows lie between", async () => {
    const { model, log } = logged(tinyModel({ layers: [{ neurons: 8 }] }));
    const pruned = applyPlan(model, makePlan(model.spec, { "layers.0.ffn": [1, 2, 5, 7] }));
    await pruned.weights.read("model.layers.0.mlp.up_proj.weight", { start: 1, end: 3 });
    expect(log).toEqual([{ start: 2, end: 6 }]);
  });

  test("passes tensors through that the spec does not know", async () => {
    const model = tinyModel();
    const extra = randomTensor([3]);
    const names = [...model.weights.names, "extra"];
    const read = async (name: string): Promise<Tensor> =>
      name === "extra" ? extra : model.weights.read(name);
    const weights = { ...model.weights, names, read };
    const pruned = applyPlan({ ...model, weights }, makePlan(model.spec, { "layers.0.ffn": [0] }));
    expect(pruned.weights.names).toEqual(names);
    expect(await pruned.weights.read("extra")).toBe(extra);
  });

  test("refuses rows outside the pruned tensor", async () => {
    const model = tinyModel();
    const { weights } = applyPlan(model, makePlan(model.spec, { "layers.0.ffn": [0, 1] }));
    const reading = weights.read("model.layers.0.mlp.up_proj.weight", { start: 0, end: 3 });
    await expect(reading).rejects.toMatchObject({
      code: "BAD_TENSOR",
      message: expect.stringContaining("expected rows inside 0..2, got 0..3"),
    });
    expect((await weights.read("model.layers.0.mlp.up_proj.weight", { start: 1, end: 1 })).shape).toEqual([
      0, 8,
    ]);
  });

  test("refuses a plan for another model", () => {
    const plan = keepAll(tinyModel({ headDim: 8 }).spec);
    expect(() => applyPlan(tinyModel(), plan)).toThrow(/plan for tiny: base headDim: expected 4, got 8/);
    expect(() => applyPlan(tinyModel(), plan)).toThrow(expect.objectContaining({ code: "BAD_PLAN" }));
  });
});

function bits({ data }: Tensor): Uint32Array {
  return new Uint32Array(data.buffer, data.byteOffset, data.length);
}

function logged(model: Model): { model: Model; log: (RowRange | undefined)[] } {
  const log: (RowRange | undefined)[] = [];
  const read = (name: string, rows?: RowRange): Promise<Tensor> => {
    log.push(rows);
    return model.weights.read(name, rows);
  };
  return { model: { ...model, weights: { ...model.weights, read } }, log };
}
