import { afterAll, describe, expect, it } from "vitest";
import { randomTensor, type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { PROJECTIONS } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { Runtime } from "./runtime.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const models: readonly (readonly [string, TinyModelOptions])[] = [
  ["Llama", {}],
  ["biases and a window", { layers: [{ biases: PROJECTIONS, window: 3, groupSize: 3 }] }],
  [
    "norms after blocks and on heads",
    { qkNorm: true, postNorms: true, normOffset: 1, activation: "gelu_tanh" },
  ],
];

describe.each(models)("the halves of a layer, %s", (_, options) => {
  const runner = new DecoderRunner(tinyModel(options), runtime);
  const hidden = randomTensor([2, 5, 8], { name: "hidden" });

  it("make up the layer", async () => {
    const layer = await runner.loadLayer(0);
    const whole = await runner.runLayer("forward", layer, { hidden });
    const middle = await runner.runLayer("attention", layer, { hidden });
    const end = await runner.runLayer("ffn", layer, { hidden: middle.hidden! });
    expectClose(end.hidden!, whole.hidden!);
  });

  it("have the moments of the gram program, and of the residual to the target", async () => {
    const layer = await runner.loadLayer(0);
    const target = randomTensor([2, 5, 8], { name: "target" });
    const importance = { shape: [2, 5, 1], data: new Float32Array(10).fill(1) };
    const middle = await runner.runLayer("attention", layer, { hidden });
    const grams = await runner.runLayer("gram", layer, { hidden });
    for (const [kind, plain, input] of [
      ["kv", "attention", hidden],
      ["ffn", "ffn", middle.hidden!],
    ] as const) {
      const { projected } = await runner.runLayer(plain, layer, { hidden: input });
      const moments = await runner.runLayer(`${plain}Moments`, layer, {
        hidden: input,
        feeds: { target, importance },
      });
      expectClose(moments.gram!, grams[`${kind}.gram`]!);
      expectClose(moments.inputSum!, grams[`${kind}.sum`]!);
      const sums = new Float32Array(2 * 8);
      for (const [i, y] of target.data.entries()) {
        sums[Math.floor(i / 40) * 8 + (i % 8)]! += y - projected!.data[i]!;
      }
      expectClose(moments.residualSum!, { shape: [2, 1, 8], data: sums });
      expect(moments.cross!.shape).toEqual([8, moments.gram!.shape[0]!]);
    }
  });
});

function expectClose(got: Tensor, expected: Tensor): void {
  expect(got.shape).toEqual(expected.shape);
  for (const [i, value] of expected.data.entries()) expect(got.data[i]).toBeCloseTo(value, 4);
}
