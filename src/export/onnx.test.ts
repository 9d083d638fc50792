import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { CAN_FILL_DISK, withFullDisk } from "../../test/file_faults.ts";
import { GOLDEN_FAMILIES, openGolden } from "../../test/golden_model.ts";
import { maxDifference } from "../../test/numbers.ts";
import { OnnxDecoder } from "../../test/onnx_session.ts";
import { runModel } from "../../test/run_model.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyDelta, tinyMamba, tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { familyByName } from "../model/families/families.ts";
import type { Model } from "../model/model.ts";
import { weightsOf } from "../model/weights.ts";
import { memorySource } from "../tensor/memory.ts";
import { elementCount } from "../tensor/tensor.ts";
import { CARD_TAG } from "./card.ts";
import { exportOnnx, type OnnxExportOptions } from "./onnx.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

/** A card of gprune's, as far as exports change it. */
const CARD = `---\ntags: [${CARD_TAG}]\n---\n## Loading\n`;

const IDS = [3, 1, 14, 7, 5, 9, 2, 11, 6, 15];

/** An exported directory and its opened decoder. */
async function exported(
  model: Model,
  options: OnnxExportOptions = {},
): Promise<{ readonly directory: string; readonly decoder: OnnxDecoder }> {
  const directory = join(await temporaryDirectory(), "out");
  await exportOnnx(model, directory, options);
  const file = (await readdir(join(directory, "onnx"))).find((name) => name.endsWith(".onnx"))!;
  return { directory, decoder: await OnnxDecoder.open(join(directory, "onnx", file)) };
}

/** Logits of gprune's layer-by-layer forward pass. */
async function expectedLogits(model: Model, ids: readonly number[]): Promise<Float32Array> {
  const { logits } = await runModel(new DecoderRunner(model, runtime), [Int32Array.from(ids)]);
  return logits;
}

/** Logits of a prefill followed by single tokens from the cache. */
async function logitsInSteps(decoder: OnnxDecoder, ids: readonly number[]): Promise<Float32Array> {
  const prefill = Math.ceil(ids.length / 2);
  const parts = [await decoder.step({ ids: [ids.slice(0, prefill)] })];
  for (const id of ids.slice(prefill)) parts.push(await decoder.step({ ids: [[id]] }));
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

describe("exportOnnx", () => {
  test.each(Object.entries(TINY_VARIANTS))("computes what our runner computes: %s", async (_, options) => {
    const model = tinyModel(options);
    const { decoder } = await exported(model);
    const expected = await expectedLogits(model, IDS);
    expect(maxDifference(await logitsInSteps(decoder, IDS), expected)).toBeLessThan(1e-4);
    await decoder.close();
  });

  test.each(GOLDEN_FAMILIES)("computes PyTorch's logits: %s", async (family) => {
    const { model, expected, windows } = await openGolden(family);
    const { decoder } = await exported(model);
    const logits = await decoder.step({ ids: windows.map((window) => [...window]) });
    expect(maxDifference(logits, expected.get("logits")!.data)).toBeLessThan(2e-4);
    await decoder.close();
    await model.weights.close();
  });

  test.each(["as Gemma", "as Gemma 4", "as LFM2", "as Qwen 3.5"])(
    "gives prompts of a padded batch what they get alone, with the past and without: %s",
    async (variant) => {
      const model = tinyModel(TINY_VARIANTS[variant] as TinyModelOptions);
      const { decoder } = await exported(model);
      const [long, short] = [IDS.slice(0, 6), IDS.slice(6, 9)];
      const padding = long.length - short.length;
      const padded = [...new Array<number>(padding).fill(0), ...short];
      const mask = [long.map(() => 1), padded.map((_, i) => Number(i >= padding))];
      const first = await decoder.step({ ids: [long, padded], mask });
      const second = await decoder.step({ ids: [[4], [8]], mask: mask.map((row) => [...row, 1]) });
      const { vocabSize } = model.spec;
      const alone = [await expectedLogits(model, [...long, 4]), await expectedLogits(model, [...short, 8])];
      const lengths = [long.length, short.length];
      for (const [row, logits] of alone.entries()) {
        const end = (row + 1) * long.length * vocabSize;
        const own = first.subarray(end - lengths[row]! * vocabSize, end);
        expect(maxDifference(own, logits.subarray(0, own.length))).toBeLessThan(1e-4);
        const next = second.subarray(row * vocabSize, (row + 1) * vocabSize);
        expect(maxDifference(next, logits.subarray(own.length))).toBeLessThan(1e-4);
      }
      await decoder.close();
    },
  );

  test("declares inputs and outputs as transformers.js reads them, KV heads layer by layer", async () => {
    const { decoder } = await exported(tinyModel(TINY_VARIANTS["per-layer widths"] as TinyModelOptions));
    const { inputMetadata, inputNames, outputNames } = decoder.session;
    expect(inputNames.slice(0, 3)).toEqual(["input_ids", "attention_mask", "position_ids"]);
    const caches = inputMetadata.filter(({ name }) => name.startsWith("past_key_values"));
    expect(caches.map((meta) => meta.isTensor && meta.shape)).toEqual(
      [2, 2, 1, 1, 3, 3].map((kvGroups) => ["batch_size", kvGroups, "past_sequence_length", 4]),
    );
    const names = [0, 1, 2].flatMap((layer) => [`present.${layer}.key`, `present.${layer}.value`]);
    expect(outputNames).toEqual([...names, "logits"]);
    await decoder.close();
  });

  test.each([
    ["f16", "_fp16", "fp16", 0.003],
    ["int8", "_int8", "int8", 0.1],
    ["int4", "_q4", "q4", 0.25],
  ] as const)(
    "in %s stays near, by the root mean square of its logits' errors",
    async (dtype, suffix, name, tolerance) => {
      for (const options of Object.values(TINY_VARIANTS)) {
        const model = tinyModel(options);
        const { directory, decoder } = await exported(model, { dtype });
        expect(await readdir(join(directory, "onnx"))).toEqual([`model${suffix}.onnx`]);
        const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
        // All that transformers.js is told: there are no data files, and caches are in float32 by default.
        const cache = dtype === "f16" ? { kv_cache_dtype: { fp16: "float16" } } : {};
        expect(config["transformers.js_config"]).toEqual({ dtype: name, ...cache });
        const expected = await expectedLogits(model, IDS);
        const got = await logitsInSteps(decoder, IDS);
        const error = rms(got.map((logit, i) => logit - expected[i]!)) / rms(expected);
        // A norm on the output of a block gives its error the weight of the whole output, however small that is.
        expect(error).toBeLessThan(model.spec.norms === "after" ? 2 * tolerance : tolerance);
        await decoder.close();
      }
    },
  );

  test.each([
    ["F16", "model_fp16.onnx"],
    ["BF16", "model.onnx"],
    ["Q8_0", "model.onnx"],
  ])(
    "writes float16 where the model is in it, and else float32, if nothing is said: %s",
    async (dtype, file) => {
      const model = tinyModel();
      const { directory, decoder } = await exported({ ...model, origin: { ...model.origin, dtype } });
      expect(await readdir(join(directory, "onnx"))).toEqual([file]);
      await decoder.close();
    },
  );

  test("writes configuration and carried files beside it", async () => {
    const files = [{ name: "tokenizer.json", bytes: Buffer.from(" {}") }];
    const model = { ...tinyModel({ layers: [{ neurons: 3 }, {}] }), files };
    const { directory, decoder } = await exported(model);
    expect((await readdir(directory)).sort()).toEqual(["config.json", "onnx", "tokenizer.json"]);
    expect(await readFile(join(directory, "tokenizer.json"), "utf8")).toBe(" {}");
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    expect(config).toMatchObject({ model_type: "llama", "transformers.js_config": { dtype: "fp32" } });
    await decoder.close();
  });

  test("is a Llama's for transformers.js where that does not know the family", async () => {
    const { directory, decoder } = await exported(tinyModel(TINY_FAMILIES.glm4));
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    expect(config).toMatchObject({ model_type: "llama", num_key_value_heads: 2, head_dim: 4 });
    await decoder.close();
  });

  test("is, of Qwen 3.5, for a class of transformers.js that reads one file", async () => {
    const qwen = TINY_VARIANTS["as Qwen 3.5"] as TinyModelOptions;
    const layers = [tinyDelta(), {}, tinyDelta({}, 3)];
    const model = { ...tinyModel({ ...qwen, family: "qwen3_5_text", layers }), card: Buffer.from(CARD) };
    const { directory, decoder } = await exported(model);
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    expect(config).toMatchObject({
      model_type: "qwen3_next",
      architectures: ["Qwen3NextForCausalLM"],
      layer_types: ["linear_attention", "full_attention", "linear_attention"],
    });
    expect(await readFile(join(directory, "README.md"), "utf8")).toContain("version 1.25.1 or later");
    const caches = decoder.session.inputMetadata.filter(({ name }) => name.startsWith("past"));
    expect(caches.map((meta) => [meta.name, meta.isTensor && meta.shape])).toEqual([
      ["past_conv.0", ["batch_size", 96, 3]],
      ["past_recurrent.0", ["batch_size", 4, 8, 16]],
      ["past_key_values.1.key", ["batch_size", 2, "past_sequence_length", 4]],
      ["past_key_values.1.value", ["batch_size", 2, "past_sequence_length", 4]],
      ["past_conv.2", ["batch_size", 96, 3]],
      ["past_recurrent.2", ["batch_size", 4, 8, 16]],
    ]);
    await decoder.close();
  });

  test("is, of LFM3, for a class of transformers.js that knows no windows", async () => {
    const lfm3 = TINY_VARIANTS["as LFM3"] as TinyModelOptions;
    const model = tinyModel({ ...lfm3, family: "lfm3" });
    const { directory, decoder } = await exported(model);
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    expect(config).toMatchObject({
      ...{ model_type: "lfm2", layer_types: ["conv", "full_attention", "full_attention"] },
    });
    await decoder.close();
  });

  test("has the states of Mamba 2 as transformers.js names them", async () => {
    const layers = [tinyMamba(), { rope: null }];
    const model = { ...tinyModel({ family: "granitemoehybrid", layers }), card: Buffer.from(CARD) };
    const { directory, decoder } = await exported(model);
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    expect(config).toMatchObject({ model_type: "granitemoehybrid", layer_types: ["mamba", "attention"] });
    expect(await readFile(join(directory, "README.md"), "utf8")).toContain("version 1.25.1 or later");
    const caches = decoder.session.inputMetadata.filter(({ name }) => name.startsWith("past"));
    expect(caches.map((meta) => [meta.name, meta.isTensor && meta.shape])).toEqual([
      ["past_conv.0", ["batch_size", 32, 3]],
      ["past_ssm.0", ["batch_size", 4, 8, 4]],
      ["past_key_values.1.key", ["batch_size", 2, "past_sequence_length", 4]],
      ["past_key_values.1.value", ["batch_size", 2, "past_sequence_length", 4]],
    ]);
    await decoder.close();
  });

  test("is a Gemma 2's, of Gemma 4, with caches of the layers that compute keys alone", async () => {
    const { directory, decoder } = await exported(tinyModel(TINY_FAMILIES.gemma4));
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    expect(config).toMatchObject({ model_type: "gemma2", architectures: ["Gemma2ForCausalLM"] });
    const caches = decoder.session.inputMetadata.filter(({ name }) => name.endsWith(".key"));
    expect(caches.map((meta) => [meta.name, meta.isTensor && meta.shape])).toEqual([
      ["past_key_values.0.key", ["batch_size", 1, "past_sequence_length", 4]],
      ["past_key_values.1.key", ["batch_size", 2, "past_sequence_length", 4]],
      ["past_key_values.2.key", ["batch_size", 1, "past_sequence_length", 6]],
    ]);
    await decoder.close();
  });

  test("tells transformers.js the ids of special tokens that it knows no defaults of", async () => {
    const written = async (extra: object): Promise<unknown> => {
      const { directory, decoder } = await exported(
        tinyModel({ ...TINY_FAMILIES.glm4, extra: { ...extra } }),
      );
      await decoder.close();
      return JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    };
    const { tokenIds } = familyByName("glm4", "test").defaults;
    expect(await written({})).toMatchObject(tokenIds);
    expect(await written({ eos_token_id: [3, 4] })).toMatchObject({ ...tokenIds, eos_token_id: [3, 4] });
  });

  test("puts large weights into data files beside the model", async () => {
    const model = tinyModel({ layers: [{ neurons: 100 }, { neurons: 90 }] });
    const { directory, decoder } = await exported(model, { maxFileBytes: 3 * 4096 });
    const data = (await readdir(join(directory, "onnx"))).filter((name) => name !== "model.onnx");
    // Every tensor of this model is smaller than a page and begins one.
    const count = Math.ceil(model.weights.names.length / 3);
    expect(data.sort()).toEqual(
      Array.from({ length: count }, (_, i) => `model.onnx_data${i === 0 ? "" : `_${i}`}`).sort(),
    );
    const sizeOf = async (name: string): Promise<number> => (await stat(join(directory, "onnx", name))).size;
    const sizes = await Promise.all(data.map(sizeOf));
    const weights = weightsOf(model.spec).reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThanOrEqual(weights);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(3 * 4096);
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    const format = config["transformers.js_config"].use_external_data_format;
    expect(format).toEqual({ "model.onnx": count });
    const expected = await expectedLogits(model, IDS);
    expect(maxDifference(await logitsInSteps(decoder, IDS), expected)).toBeLessThan(1e-4);
    await decoder.close();
  });

  test.each([0, 1.5, Number.NaN, 2_000_000_001])("refuses files of %d bytes", async (maxFileBytes) => {
    const parent = await temporaryDirectory();
    await expect(exportOnnx(tinyModel(), join(parent, "out"), { maxFileBytes })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: `maxFileBytes: expected a whole number of at least 1 and at most 2000000000, got ${maxFileBytes}`,
    });
    expect(await readdir(parent)).toEqual([]);
  });

  test("refuses values that are not finite, and leaves nothing behind", async () => {
    const name = "model.layers.1.mlp.up_proj.weight";
    const model = tinyModel();
    const tensors = new Map<string, Awaited<ReturnType<Model["weights"]["read"]>>>();
    for (const each of model.weights.names) tensors.set(each, await model.weights.read(each));
    const { shape, data } = tensors.get(name)!;
    tensors.set(name, { shape, data: data.with(0, 70_000) });
    const parent = await temporaryDirectory();
    const directory = join(parent, "out");
    const broken = { ...model, weights: memorySource(tensors) };
    await expect(exportOnnx(broken, directory, { dtype: "f16" })).rejects.toMatchObject({
      code: "OUT_OF_RANGE",
      message: `${name}: expected F16 values up to 65504, got 70000`,
      hint: "Use the dtype f32, or bf16 where the format has it (--dtype).",
    });
    expect(await readdir(parent)).toEqual([]);
  });

  test.runIf(CAN_FILL_DISK)("leaves nothing behind when the disk is full", async () => {
    const parent = await temporaryDirectory();
    await withFullDisk(5000, async () => {
      await expect(exportOnnx(tinyModel(), join(parent, "out"))).rejects.toMatchObject({
        code: "OUTPUT_FAILED",
      });
    });
    expect(await readdir(parent)).toEqual([]);
  });
});

/** Root of the mean square. */
function rms(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}
