/** Factors of muP that become part of weights in GGUF files. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { maxDifference, relativeDifference } from "../../test/numbers.ts";
import { runModel } from "../../test/run_model.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyMamba2, tinyModel, tinySpec } from "../../test/tiny_model.ts";
import { MIXER_MULTIPLIERS, MULTIPLIERS } from "../../test/tiny_variants.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { architectureByName } from "../model/gguf/architectures.ts";
import { foldedSpec, foldedWeights } from "../model/gguf/folded.ts";
import type { Model } from "../model/model.ts";
import type { LayerSpec } from "../model/spec.ts";
import { type ExportGgufOptions, exportGguf, type GgufExport } from "./gguf.ts";
import { exportHuggingFace } from "./hf.ts";

const FALCON = TINY_FAMILIES.falcon_h1;
const BESIDE = FALCON.layers![0]!;
const ARCHITECTURE = architectureByName("falcon-h1", {
  where: "test",
  has: { experts: false, shared: false, corrected: false },
});

/** Does something with the file of a model. */
async function withExported(
  model: Model,
  use: (opened: Model, written: GgufExport) => Promise<void>,
  options?: ExportGgufOptions,
): Promise<void> {
  const path = join(await temporaryDirectory(), "out.gguf");
  const written = await exportGguf(model, path, options);
  const opened = await openModel(path);
  try {
    await use(opened, written);
  } finally {
    await opened.weights.close();
  }
}

async function logitsOf(model: Model): Promise<Float32Array> {
  const runtime = new Runtime();
  const runner = new DecoderRunner(model, runtime);
  const { logits } = await runModel(runner, [Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6)]);
  await runtime.close();
  return logits;
}

const layersWith = (...changes: readonly Partial<LayerSpec>[]): readonly Partial<LayerSpec>[] =>
  changes.map((change) => ({ ...BESIDE, ...change }));

describe("a GGUF of a model with factors", () => {
  test.each<[string, TinyModelOptions, boolean]>([
    ["with an output matrix of its own", {}, false],
    [
      "with biases",
      {
        layers: layersWith(
          { biases: ["q_proj", "k_proj", "v_proj"] },
          { biases: ["gate_proj", "down_proj"] },
        ),
      },
      false,
    ],
    ["normed after gates", { layers: [{ beside: tinyMamba2({ multipliers: MIXER_MULTIPLIERS }) }] }, false],
    ["with layers of different widths", { layers: layersWith({ neurons: 3 }, { kvGroups: 1 }) }, false],
    ["tied, with other factors on embeddings than on logits", { tiedEmbeddings: true }, false],
    ["tied, with the same factors", { tiedEmbeddings: true, embeddingScale: 3, logitDivisor: 1 / 3 }, true],
    ["of Mamba 2 alone", { multipliers: undefined!, embeddingScale: 1, logitDivisor: 1 }, false],
  ])("%s has the model's logits, and no factors", async (_, changes, isTied) => {
    const { multipliers = null, ...options } = { ...FALCON, ...changes };
    const model = tinyModel({ ...options, ...(multipliers && { multipliers }) });
    await withExported(model, async (opened) => {
      const { spec } = opened;
      expect(spec).toMatchObject({ tiedEmbeddings: isTied, embeddingScale: 1, logitDivisor: 1 });
      expect(spec.multipliers).toBeUndefined();
      for (const { beside } of spec.layers) expect(beside).not.toHaveProperty("multipliers");
      expect(relativeDifference(await logitsOf(opened), await logitsOf(model))).toBeLessThan(1e-5);
    });
  });

  test("has each weight times the factors on what it reads and gives", async () => {
    const layers = layersWith({ biases: ["k_proj", "gate_proj", "up_proj", "down_proj"] });
    const model = tinyModel({ ...FALCON, layers });
    const { attentionInput, keys, attentionOutput, gates, ffnOutput } = MULTIPLIERS;
    const factors: Readonly<Record<string, number>> = {
      "self_attn.q_proj.weight": attentionInput,
      "self_attn.k_proj.weight": attentionInput * keys,
      "self_attn.k_proj.bias": keys,
      "self_attn.v_proj.weight": attentionInput,
      "self_attn.o_proj.weight": attentionOutput,
      "mlp.gate_proj.weight": gates,
      "mlp.gate_proj.bias": gates,
      "mlp.up_proj.weight": 1,
      "mlp.up_proj.bias": 1,
      "mlp.down_proj.weight": ffnOutput,
      "mlp.down_proj.bias": ffnOutput,
      "mamba.conv1d.weight": 1,
      "mamba.dt_bias": 1,
      "mamba.out_proj.weight": MIXER_MULTIPLIERS.output,
      "model.embed_tokens.weight": 5.5,
      "lm_head.weight": 0.25,
    };
    await withExported(model, async ({ weights }) => {
      for (const [part, factor] of Object.entries(factors)) {
        const name = /^(model|lm_head)\./.test(part) ? part : `model.layers.0.${part}`;
        const before = (await model.weights.read(name)).data.map((value) => value * factor);
        expect(maxDifference((await weights.read(name)).data, before), name).toBe(0);
      }
    });
  });

  test("has the parts of what Mamba 2 reads times a factor each", async () => {
    const model = tinyModel(FALCON);
    // 24 gates and values, 16 keys and queries, 4 steps; 8 columns.
    const ends = [24, 48, 64, 80, 84];
    const { input, parts } = MIXER_MULTIPLIERS;
    const name = "model.layers.1.mamba.in_proj.weight";
    await withExported(model, async ({ weights }) => {
      const { shape, data } = await weights.read(name);
      expect(shape).toEqual([84, 8]);
      const expected = (await model.weights.read(name)).data.map((value, index) => {
        const part = ends.findIndex((end) => index < 8 * end);
        return value * input * parts[part]!;
      });
      expect(maxDifference(data, expected)).toBe(0);
    });
  });

  test("counts as padding what is zero, and not the output matrix that it needs", async () => {
    const tied = { ...FALCON, tiedEmbeddings: true };
    await withExported(tinyModel(tied), async (_, { warnings, architecture }) => {
      expect(architecture).toBe("falcon-h1");
      expect(warnings).toEqual([expect.stringContaining("no vocabulary")]);
    });
    await withExported(
      tinyModel({ ...tied, layers: layersWith({ neurons: 3 }, {}) }),
      async (_, { warnings }) => {
        const padding = "padded with zeros to 6 neurons and 2 KV groups, 72 parameters without effect";
        expect(warnings[0]).toContain(padding);
      },
    );
  });

  test("is written as a configuration whose factors are all 1", async () => {
    const directory = join(await temporaryDirectory(), "out");
    await withExported(tinyModel(FALCON), async (opened) => {
      await exportHuggingFace(opened, directory);
      const again = await openModel(directory);
      await again.weights.close();
      expect(again.spec).toEqual({ ...opened.spec, extra: again.spec.extra });
    });
  });

  test("of 8 bits is near the model", async () => {
    const beside = tinyMamba2({ valueDim: 8, multipliers: MIXER_MULTIPLIERS });
    const layers = [{ neurons: 32, beside }];
    const model = tinyModel({ ...FALCON, hiddenSize: 32, headDim: 16, layers });
    const read = async (opened: Model): Promise<void> => {
      expect(relativeDifference(await logitsOf(opened), await logitsOf(model))).toBeLessThan(0.1);
    };
    await withExported(model, read, { dtype: "q8_0" });
  });
});

test("rows are multiplied by the factors of their parts", async () => {
  const { spec, weights } = tinyModel({ ...FALCON, tiedEmbeddings: true });
  const folded = foldedWeights(weights, spec, ARCHITECTURE);
  for (const name of ["model.layers.0.mamba.in_proj.weight", "model.embed_tokens.weight", "lm_head.weight"]) {
    const whole = await folded.read(name);
    const rows = await folded.read(name, { start: 9, end: 14 });
    const width = whole.shape[1]!;
    expect(rows.data).toEqual(whole.data.slice(9 * width, 14 * width));
    expect(folded.info(name)?.shape).toEqual(whole.shape);
  }
});

test("other architectures leave models as they are", () => {
  const spec = tinySpec(FALCON);
  const { weights } = tinyModel(FALCON);
  const other = { ...ARCHITECTURE, folded: false };
  expect(foldedSpec(spec, other)).toBe(spec);
  expect(foldedWeights(weights, spec, other)).toBe(weights);
});
