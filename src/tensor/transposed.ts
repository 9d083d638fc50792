/** Transposes of matrices. */
import type { RowRange, Tensor } from "./tensor.ts";

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
