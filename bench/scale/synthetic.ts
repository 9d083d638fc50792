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
/** 2^32 by the golden ratio, whose multiples are far from each other. */
const GOLDEN_RATIO = 0x9e3779b1;

/** Writes a model of a shape. @param directory - missing or empty */
export async function writeSynthetic(shape: LlamaShape, directory: string, seed = 0): Promise<void> {
  const files = await demoTokenizer();
  const origin = { name: "synthetic", format: "memory", dtype: "BF16" } as const;
  const spec = specOf(shape);
  const shapes = new Map(weightsOf(spec).map((weight) => [weight.name, weight.shape]));
  const weights: Model["weights"] = {
    names: [...shapes.keys()],
    info: (name) => ({ dtype: "BF16", shape: shapes.get(name)! }),
    read: async (name: string, rows?: RowRange) => randomWeights(name, shapes.get(name)!, { seed, rows }),
    close: async () => {},
  };
  await exportHuggingFace({ spec, weights, files, origin }, directory, { maxShardBytes: SHARD_BYTES });
}

/** Which numbers: of which seed, and of which rows; of all when absent. */
interface Asked {
  readonly seed: number;
  readonly rows: RowRange | undefined;
}

/**
 * Uniform numbers with {@link DEVIATION} around 0, or around 1 for norms, from a fast 32-bit xorshift that starts anew
 * with every row.
 */
function randomWeights(name: string, [height = 1, ...widths]: readonly number[], asked: Asked): Tensor {
  const { start, end } = asked.rows ?? { start: 0, end: height };
  const width = elementCount(widths);
  const data = new Float32Array((end - start) * width);
  const centre = name.includes("norm") ? 1 : 0;
  const scale = (DEVIATION * Math.sqrt(3)) / 2 ** 31;
  const first = Math.floor(randomStream(asked.seed, name)() * 2 ** 32);
  for (let row = start; row < end; row++) {
    let state = Math.imul(first + row, GOLDEN_RATIO) | 1;
    for (let i = (row - start) * width; i < (row - start + 1) * width; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      data[i] = centre + scale * state;
    }
  }
  return { shape: [end - start, ...widths], data };
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
