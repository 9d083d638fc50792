import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { maxDifference } from "../../test/numbers.ts";
import { runModel } from "../../test/run_model.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { openGguf } from "../io/formats/gguf.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import type { LayerSpec } from "../model/spec.ts";
import { weightsOf } from "../model/weights.ts";
import { exportGguf } from "./gguf.ts";
import { findGgufTarget } from "./gguf_target.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const OPTIONS: TinyModelOptions = TINY_FAMILIES.gemma3n;
const LAYERS = OPTIONS.layers!;

function withLayer(index: number, changes: Partial<LayerSpec>): TinyModelOptions {
  return { ...OPTIONS, layers: LAYERS.with(index, { ...LAYERS[index], ...changes }) };
}

async function exported(options: TinyModelOptions, dtype: "f32" | "q8_0" = "f32"): Promise<string> {
  const path = join(await temporaryDirectory(), "model.gguf");
  await exportGguf(tinyModel(options), path, { dtype });
  return path;
}

function answer(options: TinyModelOptions): ReturnType<typeof findGgufTarget> {
  return findGgufTarget(tinyModel(options).spec);
}

describe("a model with streams", () => {
  test("is the same once it is written and read", async () => {
    const model = tinyModel(OPTIONS);
    const read = await openModel(await exported(OPTIONS));
    expect({ ...read.spec, extra: {} }).toEqual(model.spec);
    for (const { name } of weightsOf(model.spec))
      expect(await read.weights.read(name), name).toEqual(await model.weights.read(name));
    await read.weights.close();
  });

  test("has keys and values that llama.cpp asks for without using them, as zeros", async () => {
    const { source } = await openGguf(await exported(OPTIONS));
    for (const stem of ["attn_k", "attn_v", "attn_k_norm"]) {
      const { data } = await source.read(`blk.20.${stem}.weight`);
      expect(data.length).toBeGreaterThan(0);
      expect(data.every((x) => x === 0)).toBe(true);
    }
    await source.close();
  });

  test("has inputs of layers for all tokens, those of token 0 for tokens without any", async () => {
    const few: TinyModelOptions = { ...OPTIONS, perLayerInputs: { size: 256, vocabSize: 13 } };
    const { source } = await openGguf(await exported(few));
    const { shape, data } = await source.read("per_layer_token_embd.weight");
    expect(shape).toEqual([16, 25 * 256]);
    const row = (id: number): Float32Array => data.slice(id * 25 * 256, (id + 1) * 25 * 256);
    for (const id of [13, 14, 15]) expect(row(id)).toEqual(row(0));
    expect(row(12)).not.toEqual(row(0));
    await source.close();
  });

  test("keeps what belongs to streams and the learned residual as floats", async () => {
    const wide = { ...OPTIONS, hiddenSize: 64, embeddingScale: 8 };
    const { source } = await openGguf(await exported(wide, "q8_0"));
    const types = (pattern: RegExp): ReadonlySet<string> =>
      new Set(source.names.filter((name) => pattern.test(name)).map((name) => source.info(name)!.dtype));
    expect(source.info("altup_proj.weight")!.shape).toEqual([3, 64, 64]);
    expect(types(/altup_(proj|unembd_proj|router)\.weight|laurel_[lr]/)).toEqual(new Set(["F16"]));
    expect(types(/_norm|altup_correct_scale/)).toEqual(new Set(["F32"]));
    expect(types(/attn_q\.weight/)).toEqual(new Set(["Q8_0"]));
    await source.close();
  });

  test("may have narrower layers where gates are not cut: they are padded with zeros", async () => {
    const uneven = withLayer(12, { neurons: 4, kvGroups: 1 });
    const target = answer(uneven).target!;
    expect(target.zeros).toBeGreaterThan(0);
    const model = tinyModel(uneven);
    const read = await openModel(await exported(uneven));
    const ids = Int32Array.of(3, 1, 4, 1, 5);
    const [one, other] = await Promise.all(
      [model, read].map((each) => runModel(new DecoderRunner(each, runtime), [ids])),
    );
    expect(maxDifference(one!.logits, other!.logits)).toBeLessThan(1e-4);
    await read.weights.close();
  });

  test("may have fewer layers than have keys and values of their own", () => {
    const layers = LAYERS.slice(0, 6);
    expect(answer({ ...OPTIONS, layers }).target?.spec.layers).toHaveLength(6);
  });

  test.each<[string, TinyModelOptions]>([
    ["other than 4 streams of hidden states", { ...OPTIONS, updates: { streams: 3, residualRank: 64 } }],
    ["a learned residual of another rank than 64", { ...OPTIONS, updates: { streams: 4, residualRank: 2 } }],
    ["inputs of layers of other sizes than 256", { ...OPTIONS, perLayerInputs: { size: 3, vocabSize: 16 } }],
    [
      "a table of the layers' inputs with more rows than the embedding",
      { ...OPTIONS, perLayerInputs: { size: 256, vocabSize: 17 } },
    ],
    ["gates cut otherwise than 0.95 in the first 10 layers", withLayer(3, { gateCut: 0.9 })],
    ["gates cut otherwise than 0.95 in the first 10 layers", withLayer(10, { gateCut: 0.95 })],
    ["gates that are cut in layers narrower than others", withLayer(3, { neurons: 4 })],
    ["logits capped otherwise than at 30", { ...OPTIONS, logitSoftcap: 20 }],
    ["sliding windows in layers other than all but every 5th", withLayer(3, { window: null })],
    [
      "keys and values of their own in other layers than the first 20",
      { ...OPTIONS, layers: LAYERS.map(({ kvSharing: _, ...layer }) => layer) },
    ],
  ])("is refused with %s", (reason, options) => {
    expect(answer(options)).toMatchObject({ target: null, reason: expect.stringContaining(reason) });
  });

  test("comes with advice where cut layers are narrower", () => {
    expect(answer(withLayer(3, { neurons: 4 }))).toMatchObject({
      hint: "Prune with --shape uniform for llama.cpp.",
    });
  });
});
