/**
 * Writes a Llama of a published shape with random bf16 weights, one tensor in memory at a time, as sharded safetensors.
 * The tokenizer is the demo model's; the rest of the vocabulary is padding.
 *
 *   node --import tsx bench/scale/synthetic.ts 7B OUT [--layers 32] [--seed 0]
 */
import { isProgram, parseOptions, positiveInteger } from "../../scripts/clients/options.ts";
import { exportHuggingFace } from "../../src/export/hf.ts";
import type { Model } from "../../src/model/model.ts";
import { weightsOf } from "../../src/model/weights.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { elementCount, type RowRange, type Tensor } from "../../src/tensor/tensor.ts";
import { demoTokenizer } from "../../test/tiny_checkpoint.ts";
import { type LlamaShape, SHAPES, specOf } from "./shapes.ts";

/** Standard deviation of the weights, as Llamas are initialised. */
const DEVIATION = 0.02;
const SHARD_BYTES = 4e9;

/** Writes a model of a shape. @param directory - missing or empty */
export async function writeSynthetic(shape: LlamaShape, directory: string, seed = 0): Promise<void> {
  const files = await demoTokenizer();
  const origin = { name: "synthetic", format: "memory", dtype: "BF16" } as const;
  const spec = specOf(shape);
  const shapes = new Map(weightsOf(spec).map((weight) => [weight.name, weight.shape]));
  const weights: Model["weights"] = {
    names: [...shapes.keys()],
    info: (name) => ({ dtype: "BF16", shape: shapes.get(name)! }),
    read: async (name: string, rows?: RowRange) => {
      if (rows !== undefined) throw new Error(`rows of ${name} were asked for`);
      return randomWeights(name, shapes.get(name)!, seed);
    },
    close: async () => {},
  };
  await exportHuggingFace({ spec, weights, files, origin }, directory, { maxShardBytes: SHARD_BYTES });
}

/** Uniform numbers with {@link DEVIATION} around 0, or around 1 for norms, from a fast 32-bit xorshift. */
function randomWeights(name: string, shape: readonly number[], seed: number): Tensor {
  const data = new Float32Array(elementCount(shape));
  const centre = name.includes("norm") ? 1 : 0;
  const scale = (DEVIATION * Math.sqrt(3)) / 2 ** 31;
  let state = Math.floor(randomStream(seed, name)() * 2 ** 32) | 1;
  for (let i = 0; i < data.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    data[i] = centre + scale * state;
  }
  return { shape, data };
}

async function main(): Promise<void> {
  const { values, positionals } = parseOptions({
    allowPositionals: true,
    options: { layers: { type: "string" }, seed: { type: "string", default: "0" } },
  });
  const [size = "", directory] = positionals;
  const shape = SHAPES[size];
  if (shape === undefined || directory === undefined) {
    throw new Error(`expected a size of ${Object.keys(SHAPES).join(", ")} and a directory`);
  }
  const layers = values.layers === undefined ? shape.layers : positiveInteger("layers", values.layers);
  await writeSynthetic({ ...shape, layers }, directory, Number(values.seed));
}

if (isProgram(import.meta.filename)) await main();
