/** Checkpoints whose layers have their matrices as [in, out], such as those of GPT-2. */
import { checkRows } from "../../tensor/memory.ts";
import type { TensorSource } from "../../tensor/tensor.ts";
import { transposed } from "../../tensor/transposed.ts";

/** Whether a weight, by its usual name, is a matrix of a layer. */
export function isLayerMatrix(name: string, shape: readonly number[]): boolean {
  return shape.length === 2 && name.startsWith("model.layers.");
}

/** A view of the tensors with the matrices of layers as [out, in]; each is read whole. */
export function withTransposedMatrices(source: TensorSource): TensorSource {
  return {
    names: source.names,
    info: (name) => {
      const info = source.info(name);
      return info && isLayerMatrix(name, info.shape) ? { ...info, shape: info.shape.toReversed() } : info;
    },
    read: async (name, rows) => {
      const info = source.info(name);
      if (info === undefined || !isLayerMatrix(name, info.shape)) return source.read(name, rows);
      if (rows !== undefined) checkRows(rows, info.shape.toReversed(), name);
      return transposed(await source.read(name), rows);
    },
    close: () => source.close(),
  };
}
