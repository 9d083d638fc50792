import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { maxDifference } from "../../../test/numbers.ts";
import { randomWindows } from "../../../test/random_windows.ts";
import { blockWeightAt } from "../../../test/stored_blocks.ts";
import { TINY_FAMILIES } from "../../../test/tiny_families.ts";
import { type TinyModelOptions, tinyDelta, tinyMamba, tinyModel } from "../../../test/tiny_model.ts";
import { GEMMA2_SWITCHES } from "../../../test/tiny_variants.ts";
import type { GgufDType } from "../../base/choices.ts";
import { Decoding, loadDecoder } from "../../evaluate/decoding.ts";
import { generate } from "../../evaluate/generate.ts";
import { exportGguf } from "../../export/gguf.ts";
import { DecoderRunner } from "../../graph/decoder/decoder_runner.ts";
import { Runtime } from "../../graph/runtime/runtime.ts";
import { openModel } from "../checkpoint/checkpoint.ts";
import type { Model } from "../model.ts";
import { stacked, stackedRows, stackedWeights } from "../stacked_experts.ts";
import { PER_LAYER } from "../weight_names.ts";
import { weightsOf } from "../weights.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const SIZES = { hiddenSize: 256, headDim: 64, vocabSize: 96 } as const;
const rope = { theta: 100, rotaryDim: 64, scaling: null } as const;
/** The rows of the second layer's down_proj are no whole number of blocks. */
const LAYERS = [
  { neurons: 256, rope },
  { neurons: 72, kvGroups: 1, rope },
] as const;
const BIASES = ["q_proj", "k_proj", "v_proj"] as const;

/** Models by what is particular in their storage. */
const CASES: Readonly<Record<string, TinyModelOptions>> = {
  "llama, whose heads are permuted": { layers: LAYERS },
  "phi3, whose projections are fused": { family: "phi3", tiedEmbeddings: false, layers: LAYERS },
  "qwen2, with biases": { family: "qwen2", layers: LAYERS.map((layer) => ({ ...layer, biases: BIASES })) },
  "gemma2, whose norms have an offset": {
    family: "gemma2",
    ...GEMMA2_SWITCHES,
    embeddingScale: Math.sqrt(SIZES.hiddenSize),
    layers: LAYERS.map((layer, index) => ({ ...layer, window: index === 0 ? 4 : null })),
  },
  "qwen3_5, whose value heads are in tiles": {
    ...TINY_FAMILIES.qwen3_5,
    layers: [tinyDelta({ valueHeads: 6, keyDim: 32, valueDim: 32 }), ...LAYERS],
  },
  "gemma4, whose layers have inputs": {
    ...TINY_FAMILIES.gemma4,
    ...{
      embeddingScale: Math.sqrt(SIZES.hiddenSize),
      perLayerInputs: { size: 64, vocabSize: SIZES.vocabSize },
    },
    layers: [
      { ...LAYERS[1], window: 4 },
      { ...LAYERS[0], window: 4, kvSharing: { role: "source" } },
      { ...LAYERS[0], kvSharing: { role: "source" } },
      { ...LAYERS[0], window: 4, kvSharing: { role: "reader", source: 1 } },
      { ...LAYERS[0], kvSharing: { role: "reader", source: 2 } },
    ],
  },
  "mixtral, whose experts are stacked": {
    ...TINY_FAMILIES.mixtral,
    layers: [256, 32].map((width) => {
      return { ...LAYERS[0], neurons: 3 * width, experts: { count: 3, active: 2, normalised: true } };
    }),
  },
  "qwen2_moe, whose experts are beside a shared one": {
    ...TINY_FAMILIES.qwen2_moe,
    layers: [256, 32].map((width) => {
      const experts = { count: 3, active: 2, normalised: false, shared: 64 };
      return { ...LAYERS[0], kvGroups: 2, groupSize: 2, neurons: 3 * width, experts };
    }),
  },
  "gemma4, whose experts are beside the FFN": {
    ...TINY_FAMILIES["gemma4 with experts"],
    embeddingScale: Math.sqrt(SIZES.hiddenSize),
    layers: [256, 32].map((width, index) => {
      const { experts } = TINY_FAMILIES["gemma4 with experts"].layers![0]!;
      const window = index === 0 ? { window: 4 } : {};
      return { ...LAYERS[0], ...window, neurons: 3 * width, experts: { ...experts!, shared: 64 } };
    }),
  },
  "granitemoehybrid, whose vectors are matrices": {
    family: "granitemoehybrid",
    layers: [tinyMamba({ keyHeads: 2, valueHeads: 8, keyDim: 32, valueDim: 64 }), ...LAYERS],
  },
};

async function withExport(
  options: TinyModelOptions,
  dtype: GgufDType,
  use: (model: Model) => Promise<void>,
): Promise<void> {
  const path = join(await temporaryDirectory(), "model.gguf");
  await exportGguf(tinyModel({ ...SIZES, ...options }), path, { dtype });
  const model = await openModel(path);
  try {
    await use(model);
  } finally {
    await model.weights.close();
  }
}

/** A type with blocks of 32 and one of 256; ggml_encode.test.ts and block_weights.test.ts have all of them. */
const TYPES = ["q4_0", "q6_k"] as const;

describe.each(Object.entries(CASES))("a file of %s", (_, options) => {
  test.each(TYPES)("of type %s gives its matrices in blocks", async (dtype) => {
    await withExport(options, dtype, async ({ spec, weights }) => {
      let inBlocks = 0;
      const experts = stackedWeights(spec);
      for (const { name, shape } of weightsOf(spec)) {
        const layout = weights.blocks!.layout(name);
        const isExact = name === PER_LAYER.projection || /mlp\.(shared_expert_)?gate\.weight$/.test(name);
        const wholeBlocks = shape.length === 2 && shape[1]! % 32 === 0 && !isExact;
        expect(layout !== undefined, name).toBe(wholeBlocks);
        if (layout === undefined) continue;
        inBlocks++;
        const blocks = await weights.blocks!.read(name);
        const own = experts.get(name);
        expect(blocks.shape).toEqual(own === undefined ? shape : stackedRows(shape, own));
        expect(blocks.layout).toEqual(layout);
        const matrix = await weights.read(name);
        const data = own === undefined ? matrix.data : stacked(matrix, own);
        const weightsInBlocks = Float64Array.from(data, (__, index) => blockWeightAt(blocks, index));
        expect(maxDifference(weightsInBlocks, data), name).toBeLessThan(1e-6);
      }
      expect(inBlocks).toBeGreaterThan(10);
    });
  });

  test("goes on with the tokens that float32 weights give", async () => {
    await withExport(options, "q4_k", async (model) => {
      const runner = new DecoderRunner(model, runtime);
      const prompt = randomWindows([5], { vocabSize: SIZES.vocabSize })[0]!;
      const decoding = new Decoding(await loadDecoder(runner), 1);
      const expected: number[] = [];
      for (let ids = prompt; expected.length < 8; ids = Int32Array.of(expected.at(-1)!)) {
        const { data } = await decoding.append(ids);
        expected.push(data.indexOf(Math.max(...data)));
      }
      const tokens = await generate(runner, prompt, { maxTokens: 8, stopIds: [] });
      expect([...tokens]).toEqual(expected);
    });
  });
});

test.each(["f32", "f16", "bf16"] as const)("a file of %s gives none", async (dtype) => {
  await withExport({ layers: LAYERS }, dtype, async ({ spec, weights }) => {
    for (const { name } of weightsOf(spec)) expect(weights.blocks!.layout(name)).toBeUndefined();
    await expect(weights.blocks!.read("lm_head.weight")).rejects.toMatchObject({ code: "BAD_TENSOR" });
  });
});
