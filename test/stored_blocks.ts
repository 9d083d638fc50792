/** Matrices and models with random weights in the block types of ggml. */
import { ggmlBlockLayout, unpackGgmlBlocks } from "../src/io/formats/ggml_blocks.ts";
import { dequantizerOf, GGML_TYPES } from "../src/io/formats/ggml_types.ts";
import type { Model } from "../src/model/model.ts";
import { stackedRows, stackedWeights } from "../src/model/stacked_experts.ts";
import { weightsOf } from "../src/model/weights.ts";
import { type BlockTensor, blockCode, emptyBlocks } from "../src/tensor/blocks.ts";
import { float16Pattern } from "../src/tensor/dtype.ts";
import { sliceRows } from "../src/tensor/memory.ts";
import { randomStream } from "../src/tensor/random.ts";
import { elementCount, putColumns, type Tensor, zeros } from "../src/tensor/tensor.ts";
import { type TinyModelOptions, tinyModel } from "./tiny_model.ts";

/** Offsets of scale and minimum in a block, and the largest integer that the scale multiplies. */
const HALVES: Readonly<
  Record<string, { readonly scale: number; readonly min?: number; readonly largest: number }>
> = {
  Q4_0: { scale: 0, largest: 8 },
  Q4_1: { scale: 0, min: 2, largest: 15 },
  Q5_0: { scale: 0, largest: 16 },
  Q5_1: { scale: 0, min: 2, largest: 31 },
  Q8_0: { scale: 0, largest: 128 },
  Q2_K: { scale: 80, min: 82, largest: 3 * 15 },
  Q3_K: { scale: 108, largest: 4 * 32 },
  Q4_K: { scale: 0, min: 2, largest: 15 * 63 },
  Q5_K: { scale: 0, min: 2, largest: 31 * 63 },
  Q6_K: { scale: 208, largest: 32 * 128 },
};

/** Types that decoding keeps in blocks: those, and one whose scale is a power of two. */
export const BLOCK_TYPES: readonly string[] = [...Object.keys(HALVES), "MXFP4"];

/** Random weights of a type, most of them in [-0.5, 0.5], with uniformly distributed integers. */
export function randomBlocks(type: string, weights: number, seed: string): Uint8Array {
  const { blockSize, blockBytes } = GGML_TYPES.get(type)!;
  const random = randomStream(0, seed);
  const bytes = Uint8Array.from({ length: (weights / blockSize) * blockBytes }, () => 256 * random());
  if (HALVES[type] === undefined) {
    // 2^-4 or 2^-3 times numbers of at most 6.
    for (let at = 0; at < bytes.length; at += blockBytes) bytes[at] = 123 + 2 * random();
    return bytes;
  }
  const { scale, min, largest } = HALVES[type];
  const put = (at: number, value: number): void => {
    const pattern = float16Pattern(value);
    bytes.set([pattern & 255, pattern >> 8], at);
  };
  // Minima of the K types are multiplied by an integer, and subtracted.
  const minSteps = type.endsWith("K") ? -63 : 1;
  for (let at = 0; at < bytes.length; at += blockBytes) {
    put(at + scale, (0.5 + random() / 2) / largest);
    if (min !== undefined) put(at + min, (-0.5 - random() / 4) / minSteps);
  }
  return bytes;
}

/** A matrix [N, I] as float32, by the reader's dequantizer. */
export function asFloats(type: string, bytes: Uint8Array, shape: readonly [number, number]): Tensor {
  const data = new Float32Array(elementCount(shape));
  dequantizerOf(GGML_TYPES.get(type)!, "test")(bytes, data);
  return { shape, data };
}

/** The same matrix in blocks. */
export function asBlocks(type: string, bytes: Uint8Array, shape: readonly [number, number]): BlockTensor {
  const target = emptyBlocks(shape, ggmlBlockLayout(type)!);
  unpackGgmlBlocks(type, bytes, { target, first: 0 });
  return target;
}

/** A model whose matrices have one block type where their rows are whole blocks. */
export function blockModel(options: TinyModelOptions, type: string): Model {
  const model = tinyModel(options);
  const { blockSize } = GGML_TYPES.get(type)!;
  const shapes = new Map(weightsOf(model.spec).map(({ name, shape }) => [name, shape]));
  const experts = stackedWeights(model.spec);
  const matrixShape = (name: string): readonly [number, number] | undefined => {
    const shape = shapes.get(name);
    if (shape?.length !== 2 || name.endsWith(".bias")) return undefined;
    const own = experts.get(name);
    const stored = own === undefined ? (shape as readonly [number, number]) : stackedRows(shape, own);
    return stored[1] % blockSize === 0 ? stored : undefined;
  };
  const bytesOf = (name: string, shape: readonly [number, number]): Uint8Array =>
    randomBlocks(type, elementCount(shape), name);
  return {
    ...model,
    weights: {
      ...model.weights,
      read: async (name, rows) => {
        const shape = matrixShape(name);
        if (shape === undefined) return model.weights.read(name, rows);
        const stored = asFloats(type, bytesOf(name, shape), shape);
        const whole = experts.get(name)?.inRow ? besideOneAnother(stored, shapes.get(name)!) : stored;
        return rows === undefined ? whole : sliceRows(whole, rows, name);
      },
      blocks: {
        layout: (name) => (matrixShape(name) === undefined ? undefined : ggmlBlockLayout(type)),
        read: async (name) => {
          const shape = matrixShape(name)!;
          return asBlocks(type, bytesOf(name, shape), shape);
        },
      },
    },
  };
}

/** A matrix whose columns are those of matrices [rows, n] that follow one another. */
function besideOneAnother({ shape, data }: Tensor, whole: readonly number[]): Tensor {
  const result = zeros(whole);
  const [rows, width] = [whole[0]!, shape[1]!];
  for (let first = 0; first < shape[0]!; first += rows) {
    const part = { shape: [rows, width], data: data.subarray(first * width, (first + rows) * width) };
    putColumns(result, part, (first / rows) * width);
  }
  return result;
}

/** A weight of a matrix in blocks, in float64. */
export function blockWeightAt(matrix: BlockTensor, index: number): number {
  const { layout, scales, offsets } = matrix;
  const block = Math.floor(index / layout.blockSize);
  return scales[block]! * (blockCode(matrix, index) - 2 ** (layout.bits - 1)) + (offsets?.[block] ?? 0);
}
