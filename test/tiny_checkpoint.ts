/** Writes a tiny random model with the demo model's tokenizer, and texts to calibrate it on. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exportHuggingFace } from "../src/export/hf.ts";
import type { CarriedFile, Model } from "../src/model/model.ts";
import type { TensorSource } from "../src/tensor/tensor.ts";
import { type TinyModelOptions, tinyModel } from "./tiny_model.ts";

const DEMO = join(import.meta.dirname, "..", "demo");

/** Directory of the demo model. */
export const DEMO_MODEL: string = join(DEMO, "model");

/** Path of a text of the demo. */
export function demoText(part: "calibration" | "heldout", kind: string): string {
  return join(DEMO, "texts", part, `${kind}.txt`);
}

/** The tokenizer of the demo model, as files that a model carries. */
export function demoTokenizer(): Promise<CarriedFile[]> {
  const names = ["tokenizer.json", "tokenizer_config.json"];
  return Promise.all(names.map(async (name) => ({ name, bytes: await readFile(join(DEMO_MODEL, name)) })));
}

/** C 16, H 4, three layers of 64 neurons and 2 KV groups: a neuron has 0.42 % of the prunable parameters. */
const SHAPE = { vocabSize: 2048, hiddenSize: 16, layers: [0, 1, 2].map(() => ({ neurons: 64 })) };

/**
 * Writes a model as a Hugging Face directory in F32.
 * @param options - changes of {@link SHAPE}
 * @param change - gives other values for a tensor, and may modify `data`
 */
export async function writeTinyCheckpoint(
  directory: string,
  options: TinyModelOptions = {},
  change?: (name: string, data: Float32Array) => Float32Array,
): Promise<string> {
  const model: Model = { ...tinyModel({ ...SHAPE, ...options }), files: await demoTokenizer() };
  const { weights } = model;
  const changed: TensorSource = {
    ...weights,
    read: async (name, rows) => {
      const { shape, data } = await weights.read(name, rows);
      return { shape, data: change?.(name, data.slice()) ?? data };
    },
  };
  await exportHuggingFace({ ...model, weights: changed }, directory);
  return directory;
}

/** Writes the starts of two texts of different kinds, about 1500 tokens each. @returns their paths */
export async function writeTinyTexts(directory: string): Promise<{ stories: string; code: string }> {
  const write = async (kind: string): Promise<string> => {
    const path = join(directory, `${kind}.txt`);
    await writeFile(path, (await readFile(demoText("calibration", kind), "utf8")).slice(0, 6000));
    return path;
  };
  return { stories: await write("stories"), code: await write("code") };
}
