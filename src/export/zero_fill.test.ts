import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { maxDifference } from "../../test/numbers.ts";
import { tensorsOf } from "../../test/plans.ts";
import { runModel } from "../../test/run_model.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { alibiSlopes } from "../model/alibi.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import type { Model } from "../model/model.ts";
import { projectionName } from "../model/weight_names.ts";
import { makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { sliceRows } from "../tensor/memory.ts";
import { exportGguf } from "./gguf.ts";
import { zeroFilled } from "./zero_fill.ts";

test.each(["starcoder2", "phi", "gpt_neox"] as const)(
  "zeros are the biases that %s lacks",
  async (family) => {
    const { layers = [], ...options } = TINY_FAMILIES[family];
    const model = tinyModel({ ...options, layers: layers.map((layer) => ({ ...layer, biases: [] })) });
    const path = join(await temporaryDirectory(), "out.gguf");
    const { warnings } = await exportGguf(model, path);
    expect(warnings).toEqual([expect.stringContaining("no vocabulary")]);
    const opened = await openModel(path);
    const before = await tensorsOf(model);
    for (const [name, { data }] of await tensorsOf(opened)) {
      const expected = before.get(name)?.data ?? new Float32Array(data.length);
      expect(maxDifference(data, expected), name).toBe(0);
    }
    for (const { biases } of opened.spec.layers) {
      expect(biases).toEqual(expect.arrayContaining(["o_proj", "up_proj", "down_proj"]));
    }
    await opened.weights.close();
  },
);

test("norms over all queries and keys have the same epsilon beside three times as many zeros", async () => {
  const { layers = [], ...options } = TINY_FAMILIES.olmo2;
  const [first, second] = layers;
  const model = tinyModel({
    ...options,
    headDim: 2,
    normEps: 0.3,
    layers: [
      { ...first, kvGroups: 1 },
      { ...second, kvGroups: 4 },
    ],
  });
  const opened = await openPadded(model);
  await expectSameLogits(model, opened);
  await opened.weights.close();
});

/** The GGUF file of a model that only fits with zeros. */
async function openPadded(model: Model): Promise<Model> {
  const path = join(await temporaryDirectory(), "out.gguf");
  const { warnings } = await exportGguf(model, path);
  expect(warnings[0]).toContain("padded with zeros");
  return openModel(path);
}

async function expectSameLogits(model: Model, opened: Model): Promise<void> {
  const runtime = new Runtime();
  const windows = [Int32Array.of(1, 2, 3, 4, 5)];
  const [before, after] = await Promise.all(
    [model, opened].map((each) => runModel(new DecoderRunner(each, runtime), windows)),
  );
  expect(maxDifference(after!.logits, before!.logits)).toBeLessThan(1e-5);
  await runtime.close();
}

/** Of up to twelve rows. */
const ALL_RANGES = Array.from(
  { length: 12 * 12 },
  (_, i) => [i % 12, Math.floor(i / 12) + 1] as const,
).filter(([start, end]) => start <= end);

test("neurons of experts stay with their expert beside zeros", async () => {
  const dense = tinyModel(TINY_FAMILIES.mixtral);
  const model = applyPlan(dense, makePlan(dense.spec, { "layers.1.ffn": [0, 2, 3, 4, 5, 7, 8, 9, 11] }));
  const opened = await openPadded(model);
  expect(opened.spec.layers.map(({ neurons }) => neurons)).toEqual([12, 12]);
  await expectSameLogits(model, opened);
  await opened.weights.close();
  const read = zeroFilled(model.weights, dense.spec, model.spec);
  for (const part of ["gate_proj", "down_proj"] as const) {
    const name = projectionName(1, part);
    const whole = await read(name);
    for (const [start, end] of ALL_RANGES.filter((range) => range[1] <= whole.shape[0]!))
      expect(await read(name, { start, end })).toEqual(sliceRows(whole, { start, end }, name));
  }
});

test.each([[[1]], [[0, 2]], [[2]]])("heads %j of three with slopes get their places back", async (kept) => {
  const sizes = { kvGroups: 3, groupSize: 1 };
  const layer = { ...TINY_FAMILIES.bloom.layers![0]!, ...sizes, slopes: alibiSlopes(3) };
  const dense = tinyModel({ ...TINY_FAMILIES.bloom, hiddenSize: 12, layers: [layer, layer] });
  const model = applyPlan(dense, makePlan(dense.spec, { "layers.1.kv": kept }));
  const opened = await openPadded(model);
  expect(opened.spec.layers.map(({ slopes }) => slopes)).toEqual([alibiSlopes(3), alibiSlopes(3)]);
  await expectSameLogits(model, opened);
  await opened.weights.close();
});
