import { afterAll, describe, expect, it } from "vitest";
import { maxDifference } from "../../test/numbers.ts";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder_runner.ts";
import { Runtime } from "../graph/runtime.ts";
import { alignedInputs, type StreamPair } from "./alignment.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const model = tinyModel({ normEps: 1e-12 });
const runner = new DecoderRunner(model, runtime);
const dense = randomTensor([4, 20, 8], { name: "stream" });

/** The dense stream with its channels turned by `channel => source[channel]`, which keeps every token's norm. */
function permuted(source: readonly number[]): StreamPair {
  const data = dense.data.map((_, i) => dense.data[i - (i % 8) + source[i % 8]!]!);
  return { dense, pruned: { shape: dense.shape, data }, tokenWeight: 1 / 80 };
}

describe("alignedInputs", () => {
  it.each(["kv", "ffn"] as const)("undoes a linear change of the stream, %s", async (kind) => {
    const layer = await runner.loadLayer(0);
    const stream = permuted([1, 2, 3, 4, 5, 6, 7, 0]);
    const block = { layer, kind, streams: [stream] };
    const weights = await alignedInputs({ runner, runtime }, block, { ridge: 1e-9, share: 1 });
    const names = kind === "kv" ? ["q_proj", "k_proj", "v_proj"] : ["gate_proj", "up_proj"];
    expect(Object.keys(weights).map((name) => name.split(".")[1])).toEqual(names);
    const aligned = { ...layer, weights: { ...layer.weights, ...weights } };
    const program = kind === "kv" ? "attention" : "ffn";
    const wanted = await runner.runLayer(program, layer, { hidden: dense });
    const plain = await runner.runLayer(program, layer, { hidden: stream.pruned });
    const got = await runner.runLayer(program, aligned, { hidden: stream.pruned });
    expect(maxDifference(plain.projected!.data, wanted.projected!.data)).toBeGreaterThan(0.05);
    expect(maxDifference(got.projected!.data, wanted.projected!.data)).toBeLessThan(1e-3);
  });

  it("goes a share of the way, and nowhere with a huge ridge", async () => {
    const layer = await runner.loadLayer(0);
    const block = { layer, kind: "ffn", streams: [permuted([1, 0, 3, 2, 5, 4, 7, 6])] } as const;
    const change = async (ridge: number, share: number): Promise<Float64Array> => {
      const weights = await alignedInputs({ runner, runtime }, block, { ridge, share });
      const before = await model.weights.read("model.layers.0.mlp.up_proj.weight");
      return Float64Array.from(weights["mlp.up_proj.weight"]!.data, (value, i) => value - before.data[i]!);
    };
    const whole = await change(0.01, 1);
    expect(
      maxDifference(
        (await change(0.01, 0.25)).map((value) => 4 * value),
        whole,
      ),
    ).toBeLessThan(1e-5);
    expect(Math.max(...(await change(1e9, 1)).map(Math.abs))).toBeLessThan(1e-6);
  });

  it("leaves a block alone whose streams are equal", async () => {
    const block = {
      layer: await runner.loadLayer(1),
      kind: "kv",
      streams: [permuted([0, 1, 2, 3, 4, 5, 6, 7])],
    };
    expect(await alignedInputs({ runner, runtime }, block as never, { ridge: 0.01, share: 1 })).toEqual({});
  });
});
