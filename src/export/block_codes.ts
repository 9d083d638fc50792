/**
 * Block quantisation of matrices in the layout of ONNX Runtime's MatMulNBits (contrib_ops.md): a block of 32 neighbours
 * in a row shares a scale and a zero point, and a weight is (code - zero) * scale. 8-bit codes are symmetric about the
 * zero point 128. 4-bit codes cover the block's own range; then the scale is refitted to the codes. Not a GGUF format.
 */
import type { Tensor } from "../tensor/tensor.ts";

export const BLOCK_SIZE = 32;

/** Zero point of every 8-bit code. */
export const BYTE_ZERO = 128;

/** The highest 4-bit code. */
const MAX_NIBBLE = 15;

/** A quantised matrix [N, I]; a row has `blocksOf(I)` blocks, the last one padded with zeros. */
export interface BlockCodes {
  /** [N, blocks, BLOCK_SIZE * bits / 8]; a byte holds one 8-bit code, or two 4-bit codes, the first in its low half. */
  readonly codes: Uint8Array;
  /** [N, blocks] */
  readonly scales: Float32Array;
  /** [N, ceil(blocks / 2)], packed like 4-bit codes; null for 8-bit codes. */
  readonly zeros: Uint8Array | null;
}

/** Scale and zero point of one block: code = round(value / scale) + zero. */
interface Fit {
  readonly scale: number;
  readonly zero: number;
}

/** Number of blocks in a row of a matrix. */
export function blocksOf(columns: number): number {
  return Math.ceil(columns / BLOCK_SIZE);
}

/** Quantises a matrix [N, I] of finite values. */
export function blockCodes(matrix: Tensor, bits: 4 | 8): BlockCodes {
  return bits === 8 ? byteCodes(matrix) : nibbleCodes(matrix);
}

function byteCodes(matrix: Tensor): BlockCodes {
  const count = blockCount(matrix);
  const codes = new Uint8Array(count * BLOCK_SIZE);
  const scales = new Float32Array(count);
  forEachBlock(matrix, (block, { index }) => {
    const scale = symmetricScale(block);
    scales[index] = scale;
    for (let i = 0; i < BLOCK_SIZE; i++) {
      codes[index * BLOCK_SIZE + i] = codeOf(block[i]!, { scale, zero: BYTE_ZERO }, 255);
    }
  });
  return { codes, scales, zeros: null };
}

function nibbleCodes(matrix: Tensor): BlockCodes {
  const count = blockCount(matrix);
  const rows = matrix.shape[0]!;
  const zerosPerRow = Math.ceil(blocksOf(matrix.shape[1]!) / 2);
  const codes = new Uint8Array((count * BLOCK_SIZE) / 2);
  const scales = new Float32Array(count);
  const zeros = new Uint8Array(rows * zerosPerRow);
  forEachBlock(matrix, (block, { index, row, column }) => {
    const fit = refitted(block, rangeFit(block));
    scales[index] = fit.scale;
    setNibble(zeros, row * zerosPerRow * 2 + column, fit.zero);
    for (let i = 0; i < BLOCK_SIZE; i++) {
      setNibble(codes, index * BLOCK_SIZE + i, codeOf(block[i]!, fit, MAX_NIBBLE));
    }
  });
  return { codes, scales, zeros };
}

/** The value of largest magnitude gets code 0, as in ggml: there is one more code below the zero point than above. */
function symmetricScale(block: Float32Array): number {
  let extreme = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) if (Math.abs(block[i]!) > Math.abs(extreme)) extreme = block[i]!;
  return Math.fround(-extreme / BYTE_ZERO);
}

/** Sixteen codes over the block's range, widened to contain 0 so that the zero point is a code. */
function rangeFit(block: Float32Array): Fit {
  let [low, high] = [0, 0];
  for (let i = 0; i < BLOCK_SIZE; i++) {
    low = Math.min(low, block[i]!);
    high = Math.max(high, block[i]!);
  }
  const scale = (high - low) / MAX_NIBBLE;
  return { scale, zero: scale === 0 ? 0 : Math.round(-low / scale) };
}

/** The least-squares scale for the codes that `fit` gives: sum of x q over sum of q^2, q = code - zero point. */
function refitted(block: Float32Array, fit: Fit): Fit {
  let [cross, square] = [0, 0];
  for (let i = 0; i < BLOCK_SIZE; i++) {
    const steps = codeOf(block[i]!, fit, MAX_NIBBLE) - fit.zero;
    cross += block[i]! * steps;
    square += steps * steps;
  }
  return square === 0 ? fit : { scale: Math.fround(cross / square), zero: fit.zero };
}

/** The nearest code from 0 to `highest`. */
function codeOf(value: number, { scale, zero }: Fit, highest: number): number {
  if (scale === 0) return zero;
  return Math.max(0, Math.min(highest, Math.round(value / scale) + zero));
}

function setNibble(bytes: Uint8Array, index: number, code: number): void {
  bytes[index >> 1]! |= code << ((index & 1) * 4);
}

function blockCount({ shape }: Tensor): number {
  return shape[0]! * blocksOf(shape[1]!);
}

/** Visits every block of a matrix in turn. The array is reused from block to block. */
function forEachBlock(
  { shape, data }: Tensor,
  visit: (
    block: Float32Array,
    place: { readonly index: number; readonly row: number; readonly column: number },
  ) => void,
): void {
  const [rows, columns] = shape as readonly [number, number];
  const blocks = blocksOf(columns);
  const block = new Float32Array(BLOCK_SIZE);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < blocks; column++) {
      const start = column * BLOCK_SIZE;
      const filled = Math.min(BLOCK_SIZE, columns - start);
      for (let i = 0; i < BLOCK_SIZE; i++) block[i] = i < filled ? data[row * columns + start + i]! : 0;
      visit(block, { index: row * blocks + column, row, column });
    }
  }
}
