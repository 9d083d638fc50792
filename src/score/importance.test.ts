import { describe, expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { randomActivations, statsOfActivations } from "../../test/tiny_stats.ts";
import type { CalibrationStats } from "../calibrate/stats.ts";
import type { Model } from "../model/model.ts";
import { spacesOf, sumOverUnits } from "../model/spaces.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { scoreEach, scoreModel } from "./importance.ts";
import { metricByName } from "./registry.ts";

const model = tinyModel();
const stats = statsOfActivations(randomActivations(model.spec));

/** The model with a record of the tensors read, or with one tensor's first value replaced. */
function watched(base: Model, change: { log?: string[]; poison?: string; value?: number }): Model {
  const read = async (name: string): Promise<Tensor> => {
    change.log?.push(name);
    const tensor = await base.weights.read(name);
    if (name !== change.poison) return tensor;
    return { ...tensor, data: tensor.data.map((x, i) => (i === 0 ? (change.value ?? Number.NaN) : x)) };
  };
  return { ...base, weights: { ...base.weights, read } };
}

describe("scoreModel", () => {
  test.each([
    ["ifv", []],
    ["random", []],
    ["wifv", ["self_attn.o_proj", "mlp.down_proj"]],
    ["pon", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"]],
  ])("with %s reads only what the metric needs, layer by layer", async (name, projections) => {
    const log: string[] = [];
    await scoreModel({ model: watched(model, { log }), metric: metricByName(name), stats, seed: 0 });
    const expected = [0, 1].flatMap((i) => projections.map((p) => `model.layers.${i}.${p}.weight`));
    expect(log).toEqual(expected);
  });

  test("scores neurons without a gate by the weights that they have", async () => {
    const log: string[] = [];
    const plain = tinyModel({ gated: false });
    const scores = await scoreModel({ model: watched(plain, { log }), metric: metricByName("pon"), seed: 0 });
    expect(log.filter((name) => name.includes("mlp"))).toEqual([
      "model.layers.0.mlp.up_proj.weight",
      "model.layers.1.mlp.up_proj.weight",
    ]);
    const { shape, data } = await plain.weights.read("model.layers.0.mlp.up_proj.weight");
    const row = data.subarray(0, shape[1]);
    const expected = row.reduce((sum, weight) => sum + Math.abs(weight), 0);
    expect(scores.get("layers.0.ffn")![0]).toBeCloseTo(expected, 12);
  });

  test("reports each layer once", async () => {
    const calls: [number, number][] = [];
    const onLayer = (done: number, layers: number): number => calls.push([done, layers]);
    await scoreModel({ model, metric: metricByName("random"), seed: 0, onLayer });
    expect(calls).toEqual([
      [1, 2],
      [2, 2],
    ]);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("names a tensor that holds %s", async (value) => {
    const poison = "model.layers.1.mlp.down_proj.weight";
    const request = {
      model: watched(model, { poison, value }),
      metric: metricByName("wifv"),
      stats,
      seed: 0,
    };
    await expect(scoreModel(request)).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringContaining(poison),
    });
  });

  test("names a space whose statistics hold NaN", async () => {
    const spaces = new Map(stats.spaces);
    const { sum, ...rest } = spaces.get("layers.1.kv")!;
    spaces.set("layers.1.kv", { ...rest, sum: sum.map((x, j) => (j === 2 ? Number.NaN : x)) });
    const request = { model, metric: metricByName("ifv"), stats: { ...stats, spaces }, seed: 0 };
    await expect(scoreModel(request)).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: "flap-ifv scores of layers.1.kv: expected finite numbers, got NaN at 2",
    });
  });

  test.each<[string, CalibrationStats | undefined]>([
    ["no statistics", undefined],
    ["statistics of no tokens", { ...stats, tokens: 0, sequences: 0 }],
    ["statistics without a space", { ...stats, spaces: new Map() }],
    ["statistics of other widths", statsOfActivations(randomActivations(tinyModel({ headDim: 8 }).spec))],
  ])("refuses %s", async (_, given) => {
    const request = { model, metric: metricByName("wifv"), seed: 0, ...(given && { stats: given }) };
    await expect(scoreModel(request)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });
});

describe("scoreEach", () => {
  test("reads every weight once for all inputs, and scores by each as if it were alone", async () => {
    const log: string[] = [];
    const others = statsOfActivations(randomActivations(model.spec, { seed: 7 }));
    const inputs = [{ stats }, { stats: others }, { stats }];
    for (const name of ["wifv", "wanda-sp"]) {
      const scoring = { metric: metricByName(name), seed: 0 };
      log.length = 0;
      const each = await scoreEach({ ...scoring, model: watched(model, { log }) }, inputs);
      expect(log).toHaveLength(4);
      for (const [place, input] of inputs.entries()) {
        expect(each[place]).toEqual(await scoreModel({ ...scoring, model, ...input }));
      }
      expect(each[0]).not.toEqual(each[1]);
    }
  });
});

describe("sumOverUnits", () => {
  test("sums over the channels of each unit", () => {
    const [kv] = spacesOf(tinyModel({ headDim: 2, layers: [{ groupSize: 1 }] }).spec);
    expect([...sumOverUnits(Float64Array.of(1, 2, 3, 4), kv!)]).toEqual([3, 7]);
  });
});
