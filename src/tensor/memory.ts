/** A map of tensors as a `TensorSource`. Not a cache: tensors stay where they are, in memory or in a stash. */
import { GpruneError } from "../errors.ts";
import { type AnyTensor, loaded } from "./stash.ts";
import type { RowRange, Tensor, TensorInfo, TensorSource } from "./tensor.ts";

/** A source over a map of tensors, in the map's order; it reports every dtype as `F32`. */
export function memorySource(tensors: ReadonlyMap<string, AnyTensor>): TensorSource {
  return {
    names: [...tensors.keys()],
    info(name: string): TensorInfo | undefined {
      const tensor = tensors.get(name);
      return tensor && { dtype: "F32", shape: tensor.shape };
    },
    async read(name: string, rows?: RowRange): Promise<Tensor> {
      const entry = tensors.get(name);
      if (entry === undefined) throw unknownTensor(name);
      const tensor = await loaded(entry);
      return rows === undefined ? tensor : sliceRows(tensor, rows, name);
    },
    async close(): Promise<void> {},
  };
}

/**
 * Rows `start..end` of axis 0. The data is a view, not a copy.
 * @throws GpruneError BAD_TENSOR when the rows are not inside the tensor
 */
export function sliceRows(tensor: Tensor, rows: RowRange, name: string): Tensor {
  checkRows(rows, tensor.shape, name);
  const count = tensor.shape[0]!;
  const width = count === 0 ? 0 : tensor.data.length / count;
  const data = tensor.data.subarray(rows.start * width, rows.end * width);
  return { shape: tensor.shape.with(0, rows.end - rows.start), data };
}

/** @throws GpruneError BAD_TENSOR unless `0 <= start <= end <= shape[0]` */
export function checkRows({ start, end }: RowRange, shape: readonly number[], name: string): void {
  const count = shape[0] ?? 0;
  const areIntegers = Number.isInteger(start) && Number.isInteger(end);
  if (areIntegers && 0 <= start && start <= end && end <= count) return;
  throw new GpruneError("BAD_TENSOR", `${name}: expected rows inside 0..${count}, got ${start}..${end}`);
}

/** The error of every source for a name that it does not have. */
export function unknownTensor(name: string): GpruneError {
  return new GpruneError("BAD_TENSOR", `${name}: expected a tensor of the model, got an unknown name`);
}
