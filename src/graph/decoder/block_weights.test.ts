import { readdirSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { relativeDifference } from "../../../test/numbers.ts";
import { randomWindows } from "../../../test/random_windows.ts";
import { BLOCK_TYPES, blockModel } from "../../../test/stored_blocks.ts";
import { type TinyModelOptions, tinyModel } from "../../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../../test/tiny_variants.ts";
import { Decoding, type LoadedDecoder, loadDecoder, loadFastDecoder } from "../../evaluate/decoding.ts";
import type { Model } from "../../model/model.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { multipliesBlocks } from "../runtime/block_check.ts";
import { Runtime } from "../runtime/runtime.ts";
import { everyMatrix, hasBlocks, loadBlockHead, loadBlockLayer } from "./block_weights.ts";
import { DecoderRunner } from "./decoder_runner.ts";

const runtime = new Runtime({ threads: 1 });
const fast = await multipliesBlocks(runtime);
afterAll(() => runtime.close());

/** Tiny models whose sizes are multiples of 256, apart from two FFN widths. */
const VARIANTS: Readonly<Record<string, TinyModelOptions>> = Object.fromEntries(
  Object.entries(TINY_VARIANTS).map(([name, options]) => {
    const layers = options.layers!.map((layer, index) => ({
      ...layer,
      neurons: [256, 288, 40][index % 3]!,
      ...(layer.headDim && { headDim: 256 }),
      rope: layer.rope === null ? null : { ...layer.rope, theta: 100, rotaryDim: 64, scaling: null },
    }));
    const perLayerInputs = options.perLayerInputs ? { ...options.perLayerInputs, size: 256 } : null;
    const latent = options.latent && {
      latent: {
        ...options.latent,
        rank: 64,
        rotated: 64,
        valueDim: 32,
        queryRank: options.latent.queryRank && 96,
      },
    };
    const sizes = { hiddenSize: 256, headDim: 128, perLayerInputs, ...latent };
    return [name, { ...options, ...sizes, layers } as TinyModelOptions];
  }),
);

/** Logits after a few tokens at once and then one by one. */
async function logitsOf(decoder: LoadedDecoder): Promise<number[]> {
  const decoding = new Decoding(decoder, 1);
  const logits: number[] = [];
  for (const ids of randomWindows([6, 1, 1, 1], { seed: 2 }))
    logits.push(...(await decoding.append(ids)).data);
  return logits;
}

/** Relative difference of logits from blocks and from float32 weights. @param tokens - number of tokens to decode */
async function differenceOf(model: Model, tokens: number): Promise<number> {
  const runner = new DecoderRunner(model, runtime);
  const decoder = await loadFastDecoder(runner, tokens);
  expect(decoder.layers.every(({ program }) => program !== undefined)).toBe(true);
  expect(decoder.head.program).toBeDefined();
  const floats = await logitsOf(await loadDecoder(runner));
  return relativeDifference(await logitsOf(decoder), floats);
}

describe.runIf(fast)("decoding from blocks gives what float32 weights give", () => {
  test.each(BLOCK_TYPES)("%s", async (type) => {
    expect(await differenceOf(blockModel(VARIANTS["per-layer widths"]!, type), 3)).toBeLessThan(1e-3);
  });

  test.each(Object.entries(VARIANTS))("%s", async (_, options) => {
    expect(await differenceOf(blockModel(options, "Q4_1"), 3)).toBeLessThan(1e-3);
  });
});

test.runIf(fast).each(Object.entries(TINY_VARIANTS))(
  "decoding from two terms gives what float32 weights give: %s",
  async (name, options) => {
    // Linear attention norms the filtered inputs of its heads, and its outputs, however small they are.
    const bound = name === "as Qwen 3.5" ? 6e-4 : 3e-4;
    expect(await differenceOf(tinyModel(options), 1000)).toBeLessThan(bound);
  },
);

describe("weights in blocks", () => {
  const options = VARIANTS["per-layer widths"]!;

  test("are not read as float32, while all others are", async () => {
    const model = blockModel(options, "Q8_0");
    const read: string[] = [];
    const weights = {
      ...model.weights,
      read: (name: string) => {
        read.push(name.replace("model.layers.2.", ""));
        return model.weights.read(name);
      },
    };
    await loadBlockLayer(new DecoderRunner({ ...model, weights }, runtime), weights.blocks!, 2);
    // Rows of 40 are not whole blocks.
    const norms = ["input_layernorm.weight", "post_attention_layernorm.weight"];
    expect(read.sort()).toEqual([...norms, "mlp.down_proj.weight"].sort());
  });

  test("are made of other matrices only for long texts", async () => {
    const model = tinyModel(options);
    const none = { layout: () => undefined, read: () => Promise.reject(new Error("read")) };
    expect(hasBlocks(model, none)).toBe(false);
    expect(hasBlocks(model, everyMatrix(model))).toBe(true);
    const runner = new DecoderRunner({ ...model, weights: { ...model.weights, blocks: none } }, runtime);
    const { layers, head } = await loadFastDecoder(runner, 32);
    expect([...layers, head].every(({ program }) => program === undefined)).toBe(true);
  });

  test("are not used on other devices", async () => {
    const other = new Runtime({ device: { name: "webgpu", dtype: "f32" } });
    const runner = new DecoderRunner(blockModel(options, "Q8_0"), other);
    const { layers, head } = await loadFastDecoder(runner, 1000);
    await other.close();
    expect([...layers, head].every(({ program }) => program === undefined)).toBe(true);
  });

  test("that are more than a program can hold become float32", async () => {
    const { spec, weights, ...model } = blockModel(options, "Q8_0");
    const asked: string[] = [];
    const read = async (name: string): Promise<Tensor> => {
      asked.push(name);
      return { shape: [0], data: new Float32Array(0) };
    };
    const large = { ...model, spec: { ...spec, vocabSize: 2 ** 23 }, weights: { ...weights, read } };
    const { program } = await loadBlockHead(new DecoderRunner(large, runtime), weights.blocks!);
    expect(program).toBeUndefined();
    expect(asked).toContain("model.embed_tokens.weight");
  });

  test("that are damaged are named, with the place", async () => {
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
    await expect(loadBlockLayer(runner, blocks, 0)).rejects.toMatchObject({
      code: "NOT_FINITE",
      message:
        "model.layers.0.mlp.up_proj.weight: expected finite weights, got NaN at row 2, column 3 (offsets of blocks)",
    });
  });

  test("that are made of damaged weights name those, with the place", async () => {
    const { weights, ...model } = tinyModel(options);
    const read = async (name: string): Promise<Tensor> => {
      const { shape, data } = await weights.read(name);
      const damaged = name.endsWith("0.mlp.up_proj.weight");
      return { shape, data: damaged ? data.with(256 + 19, Number.NaN) : data };
    };
    const broken = { ...model, weights: { ...weights, read } };
    const runner = new DecoderRunner(broken, runtime);
    await expect(loadBlockLayer(runner, everyMatrix(broken), 0)).rejects.toMatchObject({
      code: "NOT_FINITE",
      message:
        "model.layers.0.mlp.up_proj.weight: expected finite weights, got NaN at row 1, column 19 (decoding)",
    });
  });

  test.runIf(process.platform === "linux")("have few threads on machines of many cores", async () => {
    const threads = (): number => readdirSync("/proc/self/task").length;
    const many = new Runtime({ threads: 64 });
    const before = threads();
    const model = blockModel(options, "Q8_0");
    await loadBlockLayer(new DecoderRunner(model, many), model.weights.blocks!, 0);
    expect(threads() - before).toBeLessThan(32);
    await many.close();
  });

  test("serve no other program than the one that they are for", async () => {
    const model = blockModel(options, "Q8_0");
    const runner = new DecoderRunner(model, runtime);
    const layer = await loadBlockLayer(runner, model.weights.blocks!, 0);
    const hidden = { shape: [1, 1, 256], data: new Float32Array(256) };
    await expect(runner.runLayer("forward", layer, { hidden })).rejects.toThrow(
      "forward with weights for cached",
    );
  });
});
