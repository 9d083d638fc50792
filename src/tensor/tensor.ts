/**
 * Dense float32 tensors in row-major order and the one operation that pruning consists of: keeping some blocks of an
 * axis. Not an array library: arithmetic on tensors runs in ONNX Runtime (src/graph).
 */
import { internalError } from "../errors.ts";
import type { BlockSource } from "./blocks.ts";

/** A dense tensor; `data.length` is the product of `shape`. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Rows `start` (inclusive) to `end` (exclusive) of axis 0. */
export interface RowRange {
  readonly start: number;
  readonly end: number;
}

/** Dtype, by the file format's own name, and shape of a stored tensor. */
export interface TensorInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** The dtype of most elements; F32 for no tensors. */
export function commonDType(tensors: readonly TensorInfo[]): string {
  const counts = new Map<string, number>();
  for (const { dtype, shape } of tensors) counts.set(dtype, (counts.get(dtype) ?? 0) + elementCount(shape));
  const [dtype] = [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most), ["F32", 0]);
  return dtype;
}

/**
 * Tensors that are read one at a time, as float32, on demand. Implemented by checkpoint files (src/io) and by views of
 * another source (surgery, renaming, replaced tensors).
 */
export interface TensorSource {
  /** Every tensor's name, in a fixed order. */
  readonly names: readonly string[];
  /** @returns shape and stored dtype, or undefined when there is no such tensor. */
  info(name: string): TensorInfo | undefined;
  /**
   * @param rows - part of axis 0 to read; everything when absent
   * @throws GpruneError BAD_TENSOR for an unknown name or rows out of range, BAD_FILE when bytes are missing
   */
  read(name: string, rows?: RowRange): Promise<Tensor>;
  /** Matrices that are stored in blocks of small integers, as they are; absent where the source has none. */
  readonly blocks?: BlockSource;
  /** Releases file handles; reading afterwards is a bug. */
  close(): Promise<void>;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A shape in messages: `[8, 32]`. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/** Reads tensors one after another. @param names - names in the source, by those in the result */
export async function readNamed(
  source: TensorSource,
  names: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, Tensor>>> {
  const tensors: Record<string, Tensor> = {};
  for (const [name, stored] of Object.entries(names)) tensors[name] = await source.read(stored);
  return tensors;
}

/** A tensor of zeros. */
export function zeros(shape: readonly number[]): Tensor {
  return { shape, data: new Float32Array(elementCount(shape)) };
}

/** Copies a matrix [rows, n] into columns of a wider one, from column `first` on. */
export function putColumns(into: Tensor, { shape, data }: Tensor, first: number): void {
  const [rows = 0, count = 0] = shape;
  const columns = into.shape[1]!;
  for (let row = 0; row < rows; row++)
    into.data.set(data.subarray(row * count, (row + 1) * count), row * columns + first);
}

/**
 * Keeps blocks of `blockSize` consecutive indices along `axis`, in the order of `keep`.
 * With shape `[.., units * blockSize, ..]` the result has `[.., keep.length * blockSize, ..]`.
 */
export function gatherBlocks(
  tensor: Tensor,
  axis: number,
  { keep, blockSize }: { readonly keep: readonly number[]; readonly blockSize: number },
): Tensor {
  const { shape, data } = tensor;
  const length = shape[axis];
  if (length === undefined) throw internalError(`gather along axis ${axis} of a rank ${shape.length} tensor`);
  const outer = elementCount(shape.slice(0, axis));
  const inner = elementCount(shape.slice(axis + 1)) * blockSize;
  const units = length / blockSize;
  const result = new Float32Array(outer * keep.length * inner);
  let offset = 0;
  for (let row = 0; row < outer; row++) {
    for (const unit of keep) {
      if (!(unit >= 0 && unit < units)) throw internalError(`gather of unit ${unit} from ${units} units`);
      const start = (row * units + unit) * inner;
      copyInto(result, data, { start, length: inner, offset });
      offset += inner;
    }
  }
  const resultShape = shape.with(axis, keep.length * blockSize);
  return { shape: resultShape, data: result };
}

/** Copies a run of floats; a plain loop beats `subarray` + `set` for the single columns of a projection. */
function copyInto(
  target: Float32Array,
  source: Float32Array,
  run: { readonly start: number; readonly length: number; readonly offset: number },
): void {
  if (run.length >= 32) {
    target.set(source.subarray(run.start, run.start + run.length), run.offset);
    return;
  }
  for (let i = 0; i < run.length; i++) target[run.offset + i] = source[run.start + i]!;
}
