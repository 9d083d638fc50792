import { readdirSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { relativeDifference } from "../../test/numbers.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { BLOCK_TYPES, blockModel } from "../../test/stored_blocks.ts";
import type { TinyModelOptions } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import { Decoding, type LoadedDecoder, loadDecoder, loadStoredDecoder } from "../evaluate/decoding.ts";
import type { Model } from "../model/model.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { multipliesBlocks } from "./block_check.ts";
import { loadBlockHead, loadBlockLayer, storesBlocks } from "./block_weights.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { Runtime } from "./runtime.ts";

const runtime = new Runtime({ threads: 1 });
const fast = await multipliesBlocks(runtime);
afterAll(() => runtime.close());

/** Tiny models in sizes that make whole blocks of 256, with FFN widths of which two do not. */
const VARIANTS: Readonly<Record<string, TinyModelOptions>> = Object.fromEntries(
  Object.entries(TINY_VARIANTS).map(([name, options]) => {
    const layers = options.layers!.map((layer, index) => ({
      ...layer,
      neurons: [256, 288, 40][index % 3]!,
      rope: layer.rope === null ? null : { ...layer.rope, theta: 100, rotaryDim: 64, scaling: null },
    }));
    return [name, { ...options, hiddenSize: 256, headDim: 128, layers } as TinyModelOptions];
  }),
);

/** Logits after a few tokens at once and then one by one. */
async function logitsOf(decoder: LoadedDecoder): Promise<number[]> {
  const decoding = new Decoding(decoder, 1);
  const all: number[] = [];
  for (const ids of randomWindows([6, 1, 1, 1], { seed: 2 })) all.push(...(await decoding.append(ids)).data);
  return all;
}

async function expectAlike(model: Model): Promise<void> {
  const runner = new DecoderRunner(model, runtime);
  const decoder = await loadStoredDecoder(runner);
  expect(decoder.layers.every(({ program }) => program !== undefined)).toBe(true);
  expect(decoder.head.program).toBeDefined();
  const floats = await logitsOf(await loadDecoder(runner));
  expect(relativeDifference(await logitsOf(decoder), floats)).toBeLessThan(1e-3);
}

describe.runIf(fast)("decoding from blocks gives what float32 weights give", () => {
  it.each(BLOCK_TYPES)("%s", async (type) => {
    await expectAlike(blockModel(VARIANTS["per-layer widths"]!, type));
  });

  it.each(Object.entries(VARIANTS))("%s", async (_, options) => {
    await expectAlike(blockModel(options, "Q4_1"));
  });
});

describe("weights in blocks", () => {
  const options = VARIANTS["per-layer widths"]!;

  it("are not read as float32, while all others are", async () => {
    const model = blockModel(options, "Q8_0");
    const read: string[] = [];
    const weights = {
      ...model.weights,
      read: (name: string) => {
        read.push(name.replace("model.layers.2.", ""));
        return model.weights.read(name);
      },
    };
    await loadBlockLayer(new DecoderRunner({ ...model, weights }, runtime), 2);
    // Rows of 40 are not whole blocks.
    const norms = ["input_layernorm.weight", "post_attention_layernorm.weight"];
    expect(read.sort()).toEqual([...norms, "mlp.down_proj.weight"].sort());
  });

  it("are used only where a matrix of the model has them", async () => {
    const { weights, ...model } = blockModel(options, "Q8_0");
    const runnerOf = (blocks: Model["weights"]["blocks"]): DecoderRunner =>
      new DecoderRunner({ ...model, weights: { ...weights, ...(blocks && { blocks }) } }, runtime);
    expect(storesBlocks(runnerOf(weights.blocks))).toBe(true);
    const none = { ...weights.blocks!, layout: () => undefined };
    expect(storesBlocks(runnerOf(none))).toBe(false);
    const { layers } = await loadStoredDecoder(runnerOf(none));
    expect(layers.every(({ program }) => program === undefined)).toBe(true);
  });

  it("are not used on other devices", async () => {
    const other = new Runtime({ device: { name: "webgpu", dtype: "f32" } });
    const { layers, head } = await loadStoredDecoder(new DecoderRunner(blockModel(options, "Q8_0"), other));
    await other.close();
    expect([...layers, head].every(({ program }) => program === undefined)).toBe(true);
  });

  it("that are more than a program can hold become float32", async () => {
    const { spec, weights, ...model } = blockModel(options, "Q8_0");
    const asked: string[] = [];
    const read = async (name: string): Promise<Tensor> => {
      asked.push(name);
      return { shape: [0], data: new Float32Array(0) };
    };
    const large = { ...model, spec: { ...spec, vocabSize: 2 ** 23 }, weights: { ...weights, read } };
    const { program } = await loadBlockHead(new DecoderRunner(large, runtime));
    expect(program).toBeUndefined();
    expect(asked).toContain("model.embed_tokens.weight");
  });

  it("that are damaged are named, with the place", async () => {
    const model = blockModel(options, "Q4_1");
    const blocks = {
      ...model.weights.blocks!,
      read: async (name: string) => {
        const matrix = await model.weights.blocks!.read(name);
        if (name.endsWith("0.mlp.up_proj.weight")) matrix.offsets![19] = Number.NaN;
        return matrix;
      },
    };
    const runner = new DecoderRunner({ ...model, weights: { ...model.weights, blocks } }, runtime);
    await expect(loadBlockLayer(runner, 0)).rejects.toMatchObject({
      code: "NOT_FINITE",
      message:
        "model.layers.0.mlp.up_proj.weight: expected finite weights, got NaN at row 2, column 3 (offsets of blocks)",
    });
  });

  it.runIf(process.platform === "linux")("have few threads on machines of many cores", async () => {
    const threads = (): number => readdirSync("/proc/self/task").length;
    const many = new Runtime({ threads: 64 });
    const before = threads();
    await loadBlockLayer(new DecoderRunner(blockModel(options, "Q8_0"), many), 0);
    expect(threads() - before).toBeLessThan(32);
    await many.close();
  });

  it("serve no other program than the one that they are for", async () => {
    const runner = new DecoderRunner(blockModel(options, "Q8_0"), runtime);
    const layer = await loadBlockLayer(runner, 0);
    const hidden = { shape: [1, 1, 256], data: new Float32Array(256) };
    await expect(runner.runLayer("forward", layer, { hidden })).rejects.toThrow(
      "forward with weights for cached",
    );
  });
});
