/**
 * Block quantisation of matrices in the layout of ONNX Runtime's MatMulNBits (contrib_ops.md): 32 neighbours of a row
 * share a scale and a zero point, and a weight is (code - zero) * scale. Codes of eight bits are symmetric, zero is
 * 128. Codes of four bits cover the block's own range, after which the scale is fitted to the codes. Not a GGUF format.
 */
import type { Tensor } from "../tensor/tensor.ts";

export const BLOCK_SIZE = 32;

/** The zero point of all codes of eight bits. */
export const BYTE_ZERO = 128;

/** The highest code of four bits. */
const HIGHEST = 15;

/** A matrix [N, I] in codes; a row has `blocksOf(I)` blocks, the last one filled up with zeros. */
export interface BlockCodes {
  /** [N, blocks, BLOCK_SIZE * bits / 8]; of two codes in a byte the lower half is the first. */
  readonly codes: Uint8Array;
  /** [N, blocks] */
  readonly scales: Float32Array;
  /** [N, ceil(blocks / 2)], packed like codes of four bits; null for codes of eight bits. */
  readonly zeros: Uint8Array | null;
}

/** How the values of a block become codes: round(value / scale) + zero. */
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
      setNibble(codes, index * BLOCK_SIZE + i, codeOf(block[i]!, fit, HIGHEST));
    }
  });
  return { codes, scales, zeros };
}

/** The value of largest magnitude gets code 0, as in ggml, since there is one more code below zero than above. */
function symmetricScale(block: Float32Array): number {
  let extreme = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) if (Math.abs(block[i]!) > Math.abs(extreme)) extreme = block[i]!;
  return Math.fround(-extreme / BYTE_ZERO);
}

/** Sixteen codes over the range of a block, which contains 0, so that its zero point has a code. */
function rangeFit(block: Float32Array): Fit {
  let [low, high] = [0, 0];
  for (let i = 0; i < BLOCK_SIZE; i++) {
    low = Math.min(low, block[i]!);
    high = Math.max(high, block[i]!);
  }
  const scale = (high - low) / HIGHEST;
  return { scale, zero: scale === 0 ? 0 : Math.round(-low / scale) };
}

/** The scale that fits the block best with the codes it has: sum of x q over sum of q^2, q the code less zero. */
function refitted(block: Float32Array, fit: Fit): Fit {
  let [cross, square] = [0, 0];
  for (let i = 0; i < BLOCK_SIZE; i++) {
    const steps = codeOf(block[i]!, fit, HIGHEST) - fit.zero;
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

/** Calls with every block of a matrix in turn; the array is the same each time. */
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
