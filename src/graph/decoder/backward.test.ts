import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { randomWindows } from "../../../test/random_windows.ts";
import { referenceDecoder } from "../../../test/reference_decoder.ts";
import { runModel } from "../../../test/run_model.ts";
import { randomTensor, tinyModel } from "../../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../../test/tiny_variants.ts";
import { silent } from "../../base/progress.ts";
import { CORRECTION } from "../../model/expert_weights.ts";
import type { Model } from "../../model/model.ts";
import { layerWeightsOf, type WeightSpec } from "../../model/weights.ts";
import { memorySource } from "../../tensor/memory.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Runtime } from "../runtime/runtime.ts";
import { backwardLayers, divergenceFrom, forwardKeepingInputs, headBackward } from "./backward.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { embedWindows } from "./forward.ts";

const REPORTING = { stage: "test", onProgress: silent };

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

/** The model with one number of one tensor moved. */
function nudged(
  model: Model,
  name: string,
  { index, by }: { readonly index: number; readonly by: number },
): Model {
  const read = async (other: string): Promise<Tensor> => {
    const tensor = await model.weights.read(other);
    if (other !== name) return tensor;
    const data = tensor.data.slice();
    data[index]! += by;
    return { ...tensor, data };
  };
  return { ...model, weights: { ...model.weights, read } };
}

/** Gradients of the mean next-token loss of each window, summed over windows, by tensor. */
async function weightGradients(
  model: Model,
  windows: readonly Int32Array[],
): Promise<ReadonlyMap<string, Float64Array>> {
  const runner = new DecoderRunner(model, runtime);
  const batches = await embedWindows(runner, windows);
  const inputs = await forwardKeepingInputs(runner, batches, REPORTING);
  await headBackward(runner, batches);
  const sums = new Map<string, Float64Array>();
  await backwardLayers(runner, batches, {
    ...REPORTING,
    program: "train",
    inputs,
    onOutputs: ({ index }, _batch, { hidden: _, ...gradients }) => {
      for (const [name, { data }] of Object.entries(gradients)) {
        const full = `model.layers.${index}.${name}`;
        const sum = sums.get(full) ?? new Float64Array(data.length);
        sums.set(
          full,
          sum.map((value, i) => value + data[i]!),
        );
      }
    },
  });
  return sums;
}

describe.each(Object.entries(TINY_VARIANTS))("the program train, %s", (_, options) => {
  test("gives every weight of a layer the slope that central differences of the naive decoder have", async () => {
    const model = tinyModel(options);
    const windows = randomWindows([7, 5]);
    const gradients = await weightGradients(model, windows);
    const lossOf = async (changed: Model): Promise<number> => {
      const reference = await referenceDecoder(changed);
      return windows.reduce((sum, window) => sum + reference(window).loss, 0);
    };
    const weights = model.spec.layers.flatMap((_, layer) => layerWeightsOf(model.spec, layer));
    // Those without axes are constants; corrections of routers only say which experts a token has.
    const isLearned = ({ name, shape }: WeightSpec): boolean =>
      shape.length > 0 && !name.endsWith(CORRECTION);
    const names = weights.filter(isLearned).map(({ name }) => name);
    expect([...gradients.keys()].filter((name) => /beta|eps|correction_bias/.test(name))).toEqual([]);
    expect([...gradients.keys()]).toEqual(expect.arrayContaining(names));
    for (const name of names) {
      const { data } = await model.weights.read(name);
      const index = data.length >> 1;
      const by = 1e-4;
      const above = await lossOf(nudged(model, name, { index, by }));
      const below = await lossOf(nudged(model, name, { index, by: -by }));
      // As far apart as float32 has them.
      const apart = Math.fround(data[index]! + by) - Math.fround(data[index]! - by);
      expect(Math.abs(gradients.get(name)![index]! - (above - below) / apart)).toBeLessThan(2e-4);
    }
  });
});

describe("divergenceFrom", () => {
  const dense = tinyModel({ logitSoftcap: 5 });
  const other = tinyModel({ logitSoftcap: 5, layers: [{ neurons: 4 }, { kvGroups: 1 }] });
  const windows = randomWindows([6, 6, 4]);

  async function divergence(teacher: Model, student: Model): Promise<readonly number[]> {
    const run = async (model: Model): Promise<Awaited<ReturnType<typeof embedWindows>>> => {
      const runner = new DecoderRunner(model, runtime);
      const batches = await embedWindows(runner, windows);
      await forwardKeepingInputs(runner, batches, REPORTING);
      return batches;
    };
    const targets = (await run(teacher)).map(({ hidden }) => hidden);
    return headBackward(new DecoderRunner(student, runtime), await run(student), divergenceFrom(targets));
  }

  test("is nothing between a model and itself", async () => {
    for (const value of await divergence(dense, dense)) expect(Math.abs(value)).toBeLessThan(1e-6);
  });

  test("is the mean over tokens of KL(dense || pruned)", async () => {
    const distributions = async (model: Model): Promise<readonly number[][]> => {
      const { logits } = await runModel(new DecoderRunner(model, runtime), windows);
      return Array.from({ length: 16 }, (_, row) => softmax([...logits.slice(row * 16, (row + 1) * 16)]));
    };
    const [p, q] = [await distributions(dense), await distributions(other)];
    const perToken = p.map((row, t) =>
      row.reduce((sum, value, v) => sum + value * Math.log(value / q[t]![v]!), 0),
    );
    const mean = (start: number, end: number): number =>
      perToken.slice(start, end).reduce((sum, value) => sum + value, 0) / (end - start);
    const measured = await divergence(dense, other);
    expect(measured).toHaveLength(3);
    for (const [index, expected] of [mean(0, 6), mean(6, 12), mean(12, 16)].entries()) {
      expect(measured[index]).toBeCloseTo(expected, 5);
    }
  });

  test("has the gradient of central differences", async () => {
    const head = await new DecoderRunner(dense, runtime).loadHead();
    const runner = new DecoderRunner(dense, runtime);
    const teacher = randomTensor([1, 8], { name: "teacher" });
    const hidden = randomTensor([1, 8], { name: "student" });
    const upstream = { shape: [1, 1], data: Float32Array.of(1) };
    const at = async (index: number, by: number): Promise<number> => {
      const moved = {
        shape: [1, 8],
        data: hidden.data.map((value, i) => (i === index ? value + by : value)),
      };
      const { nll } = await runner.runHead("divergenceBackward", head, { hidden: moved, teacher, upstream });
      return nll!.data[0]!;
    };
    const { hidden: gradient } = await runner.runHead("divergenceBackward", head, {
      hidden,
      teacher,
      upstream,
    });
    for (let i = 0; i < 8; i++) {
      expect(gradient!.data[i]).toBeCloseTo(((await at(i, 1e-2)) - (await at(i, -1e-2))) / 2e-2, 2);
    }
  });
});

function softmax(row: readonly number[]): number[] {
  const weights = row.map((value) => Math.exp(value));
  const total = weights.reduce((sum, value) => sum + value, 0);
  return weights.map((value) => value / total);
}

test("memory sources give the very tensors they hold, so that training may change them in place", async () => {
  const tensor = randomTensor([2, 2], { name: "x" });
  expect(await memorySource(new Map([["x", tensor]])).read("x")).toBe(tensor);
});
