/**
 * A matrix of floating-point numbers as two terms of 8-bit integers in blocks (blocks.ts), for products with integer
 * matrices: 2.1 bytes a weight. Scales are powers of two, s and s / 256, with the largest magnitude of the block at
 * most 127 s: the first term is the weight rounded to s, the second the remainder rounded to s / 256. So bfloat16
 * weights are exact down to a 64th of their block's largest, float16 weights down to an eighth, and all others are off
 * by at most 2^-14 of the largest.
 */
import { type BlockLayout, type BlockTensor, blocksOfRow, emptyBlocks } from "./blocks.ts";
import type { Tensor } from "./tensor.ts";

export const TWO_TERMS: BlockLayout = { bits: 8, blockSize: 64, offsets: false, terms: 2 };

/** The largest magnitude of a code of the first term. */
const LARGEST = 127;
/** The code of 0. */
const ZERO = 128;
/** Steps of the second term in one of the first. */
const STEPS = 256;

/** A matrix [N, I] of finite numbers in two terms. */
export function inTwoTerms({ shape, data }: Tensor): BlockTensor {
  const [rows, columns] = shape as readonly [number, number];
  const result = emptyBlocks([rows, columns], TWO_TERMS);
  const { codes, scales } = result;
  const { blockSize } = TWO_TERMS;
  const blocks = blocksOfRow(columns, TWO_TERMS);
  const term = rows * blocks;
  for (let block = 0; block < term; block++) {
    const row = Math.floor(block / blocks);
    const start = row * columns + (block - row * blocks) * blockSize;
    const end = Math.min(start + blockSize, (row + 1) * columns);
    const scale = scaleOf(data, start, end);
    scales[block] = scale;
    scales[term + block] = scale / STEPS;
    const places = { start, end, first: block * blockSize, second: (term + block) * blockSize };
    encodeBlock({ data, codes, scale }, places);
  }
  return result;
}

/** The scale of the first term; 1 for a block of zeros. */
function scaleOf(data: Float32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(data[i]!));
  return largest === 0 ? 1 : 2 ** Math.ceil(Math.log2(largest / LARGEST));
}

/** Fills the codes of a block. @param places - range of its weights, and where the codes of both terms begin */
function encodeBlock(
  { data, codes, scale }: { readonly data: Float32Array; readonly codes: Uint8Array; readonly scale: number },
  { start, end, first, second }: Readonly<Record<"start" | "end" | "first" | "second", number>>,
): void {
  const factor = 1 / scale;
  const apart = second - first;
  let place = first;
  for (let i = start; i < end; i++, place++) {
    // Halves are rounded up, so that the remainder lies in [-1/2, 1/2). `| 0` rounds down, since nothing is below 0.
    const steps = data[i]! * factor + ZERO;
    const coarse = (steps + 0.5) | 0;
    const fine = ((steps - coarse) * STEPS + (ZERO + 0.5)) | 0;
    codes[place] = coarse;
    codes[place + apart] = Math.min(fine, ZERO + LARGEST);
  }
  // Padding behind the end of a row.
  for (; place < first + TWO_TERMS.blockSize; place++) codes[place] = codes[place + apart] = ZERO;
}
