/**
 * Matrices in blocks of small integers, as quantised files hold them: neighbours of a row share a scale, and in some
 * formats an offset. A weight is scale * (code - 2^(bits - 1)) + offset, or the sum of two of these terms. File formats
 * are in io/formats/ggml_blocks.ts, matrix products in graph/runtime/block_products.ts.
 */

/** Layout of a matrix in blocks. */
export interface BlockLayout {
  /** Bits of a code. */
  readonly bits: 4 | 8;
  /** Weights that share a scale. */
  readonly blockSize: 16 | 32 | 64;
  /** Whether blocks have offsets. */
  readonly offsets: boolean;
  /** Number of terms that add up to a weight. */
  readonly terms: 1 | 2;
}

/** A matrix [N, I] in blocks, G = ceil(I / blockSize) of them in a row; codes of the last one beyond I stand for 0. */
export interface BlockTensor {
  /** [N, I] */
  readonly shape: readonly [number, number];
  readonly layout: BlockLayout;
  /**
   * [terms * N, G, blockSize * bits / 8], all rows of a term together; the lower half of a byte is the first of its two
   * codes.
   */
  readonly codes: Uint8Array;
  /** [terms * N, G] */
  readonly scales: Float32Array;
  /** [N, G], or null without offsets; only matrices of one term have any. */
  readonly offsets: Float32Array | null;
}

/**
 * Matrices that a source stores in blocks, read without conversion to float32. Of experts, the rows of one's matrix
 * follow those of another's, also where they are columns of the matrix as a whole (model/stacked_experts.ts).
 */
export interface BlockSource {
  /** Layout of a matrix; undefined for one that is not in blocks and for unknown names. */
  layout(name: string): BlockLayout | undefined;
  /** @throws GpruneError BAD_TENSOR for a name without a layout, BAD_FILE when bytes are missing */
  read(name: string): Promise<BlockTensor>;
}

/** Blocks in a row of `columns` weights. */
export function blocksOfRow(columns: number, { blockSize }: { readonly blockSize: number }): number {
  return Math.ceil(columns / blockSize);
}

/** A block tensor without values. @param shape - [N, I] */
export function emptyBlocks(shape: readonly [number, number], layout: BlockLayout): BlockTensor {
  const { bits, blockSize, offsets, terms } = layout;
  const blocks = terms * shape[0] * blocksOfRow(shape[1], layout);
  return {
    shape,
    layout,
    codes: new Uint8Array((blocks * blockSize * bits) / 8),
    scales: new Float32Array(blocks),
    offsets: offsets ? new Float32Array(blocks) : null,
  };
}

/** The code of a weight, by its index in the matrix, whose rows are whole blocks. */
export function blockCode({ layout, codes }: BlockTensor, index: number): number {
  return layout.bits === 8 ? codes[index]! : (codes[index >> 1]! >> ((index & 1) * 4)) & 15;
}

/** Bytes of a matrix in blocks. @param shape - [N, I] */
export function blockBytes([rows, columns]: readonly [number, number], layout: BlockLayout): number {
  const { bits, blockSize, offsets, terms } = layout;
  const blocks = terms * rows * blocksOfRow(columns, layout);
  return blocks * ((blockSize * bits) / 8 + (offsets ? 8 : 4));
}

/** A part of a block tensor, its codes, scales or offsets, of some rows: those of each term. */
export function blockRows<T extends Uint8Array | Float32Array>(
  { shape, layout: { terms } }: BlockTensor,
  part: T,
  { start, end }: { readonly start: number; readonly end: number },
): T {
  const size = part.length / terms;
  const width = size / shape[0];
  const of = (term: number): T => part.subarray(term * size + start * width, term * size + end * width) as T;
  if (terms === 1) return of(0);
  const [first, second] = [of(0), of(1)];
  const result = part.slice(0, 2 * first.length) as T;
  result.set(first);
  result.set(second, first.length);
  return result;
}

/** Row `rowAt(r)` of a matrix of one term becomes row r of the result, for `count` rows. */
export function gatherBlockRows(
  { shape, layout, codes, scales, offsets }: BlockTensor,
  count: number,
  rowAt: (row: number) => number,
): BlockTensor {
  const gather = <T extends Uint8Array | Float32Array>(from: T, to: T): T => {
    const width = from.length / shape[0];
    for (let row = 0; row < count; row++) {
      const start = rowAt(row) * width;
      to.set(from.subarray(start, start + width), row * width);
    }
    return to;
  };
  const result = emptyBlocks([count, shape[1]], layout);
  gather(codes, result.codes);
  gather(scales, result.scales);
  if (offsets !== null) gather(offsets, result.offsets!);
  return result;
}
