import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maxDifference } from "../../../test/numbers.ts";
import { tensorsOf } from "../../../test/plans.ts";
import { tinyModel } from "../../../test/tiny_model.ts";
import { PER_LAYER } from "../../model/weight_names.ts";
import { memorySource } from "../../tensor/memory.ts";
import { Runtime } from "../runtime/runtime.ts";
import { OwnInputs, ownInputBytes } from "./own_inputs.ts";

const SIZE = 4;
const OPTIONS = { perLayerInputs: { size: SIZE, vocabSize: 12 }, layers: [{}, {}, {}], embeddingScale: 3 };

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

describe("the inputs of layers", () => {
  test("are the layer's part of the tokens' rows, whatever came before", async () => {
    const inputs = new OwnInputs(tinyModel(OPTIONS), runtime);
    const whole = await inputs.of(1, Int32Array.of(5, 3, 5, 8), [2, 2]);
    expect(whole.own_input!.shape).toEqual([2, 2, SIZE]);
    const rows = (feeds: typeof whole): Float32Array => feeds.own_input!.data as Float32Array;
    expect(rows(whole).slice(0, SIZE)).toEqual(rows(whole).slice(2 * SIZE, 3 * SIZE));
    const again = await inputs.of(1, Int32Array.of(11, 3), [1, 2]);
    expect(maxDifference(rows(again).slice(SIZE), rows(whole).slice(SIZE, 2 * SIZE))).toBe(0);
    const other = await inputs.of(2, Int32Array.of(3), [1, 1]);
    expect(maxDifference(rows(other), rows(again).slice(SIZE))).toBeGreaterThan(0.01);
  });

  test("of several calls at once, and of few tokens and many, are those of each", async () => {
    const [together, alone] = [0, 1].map(() => new OwnInputs(tinyModel(OPTIONS), runtime)) as [
      OwnInputs,
      OwnInputs,
    ];
    const calls = [Int32Array.of(1, 2), Int32Array.of(2, 3), Int32Array.of(3, 1)];
    const results = await Promise.all(calls.map((ids) => together.of(0, ids, [1, 2])));
    for (const [index, ids] of calls.entries())
      expect(results[index]!.own_input!.data).toEqual((await alone.of(0, ids, [1, 2])).own_input!.data);
    const many = await new OwnInputs(tinyModel(OPTIONS), runtime).of(
      0,
      Int32Array.from({ length: 12 }, (_, id) => id),
      [1, 12],
    );
    expect(results[0]!.own_input!.data).toEqual(many.own_input!.data.slice(SIZE, 3 * SIZE));
  });

  test("are none in models without them", async () => {
    const inputs = new OwnInputs(tinyModel(), runtime);
    expect(await inputs.of(0, undefined, [1, 2])).toEqual({});
    expect(ownInputBytes(tinyModel().spec, 1000)).toBe(0);
  });

  test("have the row of token 0 for tokens without one", async () => {
    const model = tinyModel({ ...OPTIONS, perLayerInputs: { size: SIZE, vocabSize: 16 } });
    const tensors = new Map(await tensorsOf(model));
    const { shape, data } = tensors.get(PER_LAYER.table)!;
    const filled = data.map((x, i) => (i < 12 * shape[1]! ? x : data[i % shape[1]!]!));
    tensors.set(PER_LAYER.table, { shape, data: filled });
    const whole = new OwnInputs({ ...model, weights: memorySource(tensors) }, runtime);
    const ids = Int32Array.of(3, 13, 0, 12);
    const { own_input } = await new OwnInputs(tinyModel(OPTIONS), runtime).of(1, ids, [1, 4]);
    expect(own_input).toEqual((await whole.of(1, ids, [1, 4])).own_input);
  });

  test("need a token of the model", async () => {
    const inputs = new OwnInputs(tinyModel(OPTIONS), runtime);
    await expect(inputs.of(0, Int32Array.of(3, 16, 2), [1, 3])).rejects.toThrow(
      "token 1: expected an id below 16, got 16",
    );
  });

  test("name a weight that is not finite", async () => {
    const model = tinyModel(OPTIONS);
    const tensors = new Map(await tensorsOf(model));
    const { shape, data } = tensors.get(PER_LAYER.projection)!;
    tensors.set(PER_LAYER.projection, { shape, data: data.map((x, i) => (i === 9 ? Number.NaN : x)) });
    const inputs = new OwnInputs({ ...model, weights: memorySource(tensors) }, runtime);
    await expect(inputs.of(0, Int32Array.of(1), [1, 1])).rejects.toThrow(PER_LAYER.projection);
  });

  test("take memory for the different tokens at most", () => {
    const { spec } = tinyModel(OPTIONS);
    expect(ownInputBytes(spec, 16)).toBe(ownInputBytes(spec, 1000));
    expect(ownInputBytes(spec, 5)).toBeLessThan(ownInputBytes(spec, 16));
  });
});
