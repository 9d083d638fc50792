/** Checkpoints whose layers have their matrices as [in, out], such as those of GPT-2. */
import { sliceRows } from "../../tensor/memory.ts";
import type { Tensor, TensorSource } from "../../tensor/tensor.ts";

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
      const matrix = transposed(await source.read(name));
      return rows === undefined ? matrix : sliceRows(matrix, rows, name);
    },
    close: () => source.close(),
  };
}

/** The transpose of a matrix. */
export function transposed({ shape, data }: Tensor): Tensor {
  const [rows, columns] = shape as readonly [number, number];
  const result = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      result[column * rows + row] = data[row * columns + column]!;
  }
  return { shape: [columns, rows], data: result };
}
