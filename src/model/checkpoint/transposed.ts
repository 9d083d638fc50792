/** Checkpoints whose layers have their matrices as [in, out], such as those of GPT-2. */
import { checkRows } from "../../tensor/memory.ts";
import type { RowRange, Tensor, TensorSource } from "../../tensor/tensor.ts";

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

/** Columns transposed at a time: few enough for what is read and what is written to stay in the processor's cache. */
const TILE = 32;

/** The transpose of a matrix [in, out], or some of its rows. */
export function transposed({ shape, data }: Tensor, rows: RowRange = { start: 0, end: shape[1]! }): Tensor {
  const [inputs, outputs] = shape as readonly [number, number];
  const count = rows.end - rows.start;
  const result = new Float32Array(count * inputs);
  for (let top = 0; top < inputs; top += TILE) {
    const bottom = Math.min(inputs, top + TILE);
    for (let row = 0; row < count; row++) {
      for (let input = top; input < bottom; input++) {
        result[row * inputs + input] = data[input * outputs + rows.start + row]!;
      }
    }
  }
  return { shape: [count, inputs], data: result };
}
