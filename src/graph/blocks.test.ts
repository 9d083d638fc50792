import { afterAll, describe, expect, it } from "vitest";
import { randomTensor, type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { PROJECTIONS } from "../model/spec.ts";
import { gatherBlocks, type Tensor } from "../tensor/tensor.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { type Feeds, Runtime } from "./runtime.ts";

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
  const random = randomTensor([2, 5, 8], { name: "hidden" });

  it("make up the layer", async () => {
    const hidden = random;
    const layer = await runner.loadLayer(0);
    const whole = await runner.runLayer("forward", layer, { hidden });
    const middle = await runner.runLayer("attention", layer, { hidden });
    const end = await runner.runLayer("ffn", layer, { hidden: middle.hidden! });
    expectClose(end.hidden!, whole.hidden!);
  });

  it.each([
    ["no token", 0],
    ["the first token", 8],
    ["every token", random.data.length],
  ] as const)(
    "have the weighted moments of what is kept and of what is lost, %s zero",
    async (_zero, end) => {
      const hidden = { shape: [2, 5, 8], data: random.data.map((value, i) => (i < end ? 0 : value)) };
      const layer = await runner.loadLayer(0);
      const middle = await runner.runLayer("attention", layer, { hidden });
      for (const [plain, projection, input] of [
        ["attention", "self_attn.o_proj", hidden],
        ["ffn", "mlp.down_proj", middle.hidden!],
      ] as const) {
        const weight = layer.weights[`${projection}.weight`] as Tensor;
        const n = weight.shape[1]!;
        const channels = Array.from({ length: n }, (_, j) => j);
        const [kept, removed] = [channels.filter((j) => j % 3 !== 1), channels.filter((j) => j % 3 === 1)];
        const outputs = await runner.runLayer(`${plain}Moments`, layer, {
          hidden: input,
          feeds: {
            kept: { shape: [kept.length], data: Int32Array.from(kept) },
            removed: { shape: [removed.length], data: Int32Array.from(removed) },
            removedWeight: gatherBlocks(weight, 1, { keep: removed, blockSize: 1 }),
          },
        });
        expectClose(outputs.hidden!, (await runner.runLayer(plain, layer, { hidden: input })).hidden!);
        const x = await inputsOf(runner, { plain, projection, input });
        const w = importanceOf(outputs.hidden!);
        const lost = x.map((row) =>
          Array.from({ length: 8 }, (_, c) =>
            removed.reduce((sum, j) => sum + weight.data[c * n + j]! * row[j]!, 0),
          ),
        );
        const sum = (f: (token: number) => number): number => w.reduce((all, own, t) => all + own * f(t), 0);
        const gram = kept.flatMap((i) => kept.map((j) => sum((t) => x[t]![i]! * x[t]![j]!)));
        expectClose(outputs.gram!, tensor([kept.length, kept.length], gram));
        const cross = lost[0]!.flatMap((_, c) => kept.map((j) => sum((t) => lost[t]![c]! * x[t]![j]!)));
        expectClose(outputs.cross!, tensor([8, kept.length], cross));
        const ofSequence = (b: number, f: (token: number) => number): number =>
          sum((t) => (Math.floor(t / 5) === b ? f(t) : 0));
        const inputSum = [0, 1].flatMap((b) => kept.map((j) => ofSequence(b, (t) => x[t]![j]!)));
        expectClose(outputs.inputSum!, tensor([2, 1, kept.length], inputSum));
        const residualSum = [0, 1].flatMap((b) => lost[0]!.map((_, c) => ofSequence(b, (t) => lost[t]![c]!)));
        expectClose(outputs.residualSum!, tensor([2, 1, 8], residualSum));
      }
    },
  );
});

/** Inputs of a block's output projection by token, read off through projections that put one of them out. */
async function inputsOf(
  runner: DecoderRunner,
  {
    plain,
    projection,
    input,
  }: { readonly plain: "attention" | "ffn"; readonly projection: string; readonly input: Tensor },
): Promise<readonly (readonly number[])[]> {
  const layer = await runner.loadLayer(0);
  const { shape } = layer.weights[`${projection}.weight`] as Tensor;
  const rows: number[][] = Array.from({ length: 10 }, () => []);
  for (let j = 0; j < shape[1]!; j++) {
    const weights: Record<string, Feeds[string]> = { ...layer.weights };
    const probe = new Float32Array(shape[0]! * shape[1]!);
    probe[j] = 1;
    weights[`${projection}.weight`] = { shape, data: probe };
    if (`${projection}.bias` in weights) weights[`${projection}.bias`] = tensor([8], new Array(8).fill(0));
    const { projected } = await runner.runLayer(plain, { ...layer, weights }, { hidden: input });
    for (const [t, row] of rows.entries()) row.push(projected!.data[t * 8]!);
  }
  return rows;
}

/** Inverse root mean square of every token, with mean 1; 0 for one that is zero. */
function importanceOf({ data }: Tensor): readonly number[] {
  const inverse = Array.from({ length: 10 }, (_, t) => {
    const squares = data.subarray(t * 8, (t + 1) * 8).reduce((sum, value) => sum + value ** 2, 0);
    return squares === 0 ? 0 : 1 / Math.sqrt(squares / 8);
  });
  const mean = inverse.reduce((sum, value) => sum + value, 0) / 10;
  return inverse.map((value) => (mean === 0 ? 0 : value / mean));
}

function tensor(shape: readonly number[], values: readonly number[]): Tensor {
  return { shape, data: Float32Array.from(values) };
}

function expectClose(got: Tensor, expected: Tensor): void {
  expect(got.shape).toEqual(expected.shape);
  for (const [i, value] of expected.data.entries()) expect(got.data[i]).toBeCloseTo(value, 4);
}
