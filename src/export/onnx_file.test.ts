import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import type { OnnxDType } from "../base/choices.ts";
import { buildDecoder } from "../graph/decoder/decoder_model.ts";
import { GraphBuilder } from "../graph/ir/graph_builder.ts";
import { READ_ELEMENTS } from "../io/formats/element_writer.ts";
import { type OnnxModel, writeOnnxFile, writingMemory } from "./onnx_file.ts";
import { ONNX_FORMATS, StoredWeights } from "./onnx_formats.ts";

const model = tinyModel({ ...TINY_VARIANTS["as Gemma 4"], hiddenSize: 40 });

function onnxModel(dtype: OnnxDType): OnnxModel {
  const b = new GraphBuilder({ fused: false });
  const weights = new StoredWeights(b, model.spec, ONNX_FORMATS[dtype]);
  const graph = buildDecoder(b, model.spec, weights);
  return { graph, stored: weights.stored };
}

test.each(["f32", "f16", "int8", "int4"] as const)(
  "writes in %s the same bytes however many rows are read at once",
  async (dtype) => {
    const directory = await temporaryDirectory();
    const written = async (readElements: number): Promise<Buffer> => {
      const path = join(directory, `${readElements}.onnx`);
      await writeOnnxFile(path, { ...onnxModel(dtype), weights: model.weights }, { readElements });
      return readFile(path);
    };
    const whole = await written(READ_ELEMENTS);
    for (const elements of [1, 100, 300]) expect((await written(elements)).equals(whole)).toBe(true);
  },
);

test("takes memory for what is read at once, and for all of what is not read by rows", () => {
  const { stored } = onnxModel("int8");
  const [embeddings] = stored as [(typeof stored)[0]];
  const large = { ...embeddings, shape: [2 ** 20, 2 ** 10] };
  expect(writingMemory({ ...large, byRows: false })).toBe(3 * 4 * 2 ** 30);
  expect(writingMemory(large)).toBeLessThan(3 * 4 * 2 ** 26 + 2 ** 20);
  const expert = { index: 1, experts: { count: 4, inRow: true } };
  expect(writingMemory({ ...large, byRows: false, expert })).toBe((3 + 2 * 4) * 4 * 2 ** 30);
});
