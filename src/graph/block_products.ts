/**
 * Products with matrices in blocks of small integers (tensor/blocks.ts) as a graph, in MatMulNBits of com.microsoft.
 *
 * The fast kernels of that operator round what is multiplied to 8 bits for each block of it, off by up to 1/254 of the block's
 * largest value. So x goes in as two rows: its own rounding to 8 bits, which the kernel then finds exact, and what that leaves,
 * which is rounded as well, to 1/254 of 1/254. Their sum is off by 1.6e-5 of the largest value of a block at most, and takes hardly
 * longer than one row, since the weights are read once. Offsets are multiplied by the sums of the blocks of x, in float32.
 */
import { internalError } from "../errors.ts";
import type { BlockLayout } from "../tensor/blocks.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import { type BlockMatrix, blockProduct } from "./operators.ts";

/** A matrix of a graph in blocks. */
export interface BlockWeight {
  readonly matrix: BlockMatrix;
  /** float32 [N, blocks], or null without offsets. */
  readonly offsets: Value | null;
}

/** The largest code of what is multiplied: 2^7 - 1. */
const LARGEST = 127;
/** Added to scales, so that a block of zeros has one. */
const TINY = 1e-30;

/** What a matrix in blocks consists of. */
export const BLOCK_PARTS = ["codes", "scales", "offsets"] as const;
export type BlockPart = (typeof BLOCK_PARTS)[number];

/** Adds a matrix [N, I] to a graph as initializers: its parts in their order as `NAME.codes` and so on. */
export function blockWeight(
  b: GraphBuilder,
  name: string,
  {
    shape: [rows, columns],
    layout,
  }: { readonly shape: readonly [number, number]; readonly layout: BlockLayout },
): BlockWeight {
  const { bits, blockSize, offsets } = layout;
  const blocks = columns / blockSize;
  const codes = b.initializer(`${name}.codes`, [rows, blocks, (blockSize * bits) / 8], "uint8");
  const scales = b.initializer(`${name}.scales`, [rows, blocks], "float32");
  return {
    matrix: { bits, blockSize, columns, codes, scales, zeros: null },
    offsets: offsets ? b.initializer(`${name}.offsets`, [rows, blocks], "float32") : null,
  };
}

/** Products of one graph. What several of them have in common is computed once. */
export class BlockProducts {
  readonly #b: GraphBuilder;
  readonly #rows = new Map<string, Value>();
  readonly #sums = new Map<string, Value>();

  constructor(b: GraphBuilder) {
    this.#b = b;
  }

  /**
   * x [1, T, I] times the transpose of a matrix [N, I]: [1, T, N].
   * @throws GpruneError INTERNAL for several sequences, whose two rows would be added up together
   */
  product(x: Value, { matrix, offsets }: BlockWeight): Value {
    const b = this.#b;
    const { blockSize } = matrix;
    if (x.shape[0] !== 1) throw internalError(`product of [${x.shape.join(", ")}] with blocks`);
    const key = `${x.name} ${blockSize}`;
    const rows = computedOnce(this.#rows, key, () => this.#twoRows(x, blockSize));
    const product = b.reduceSum(blockProduct(b, rows, matrix), [0]);
    if (offsets === null) return product;
    const sums = computedOnce(this.#sums, key, () => this.#blockSums(x, blockSize));
    return b.add(product, b.matmul(sums, offsets, { transB: true }));
  }

  /** x rounded to 8 bits in each block, and the rest: [2, T, I]. */
  #twoRows(x: Value, blockSize: number): Value {
    const b = this.#b;
    const blocks = this.#blocksOf(x, blockSize);
    const largest = b.reduceMax(b.abs(blocks), [-1]);
    const scales = b.add(b.mul(largest, b.scalar(1 / LARGEST)), b.scalar(TINY));
    const steps = b.operator("Round", [b.div(blocks, scales)], blocks);
    const coarse = b.mul(steps, scales);
    const both = b.concat([coarse, b.sub(blocks, coarse)], 0, 2);
    return b.reshape(both, [2, ...x.shape.slice(1)]);
  }

  /** [1, T, I / blockSize] */
  #blockSums(x: Value, blockSize: number): Value {
    const sums = this.#b.reduceSum(this.#blocksOf(x, blockSize), [-1]);
    return this.#b.reshape(sums, sums.shape.slice(0, -1));
  }

  /** [1, T, I / blockSize, blockSize] */
  #blocksOf(x: Value, blockSize: number): Value {
    const columns = x.shape.at(-1) as number;
    return this.#b.reshape(x, [...x.shape.slice(0, -1), columns / blockSize, blockSize]);
  }
}

function computedOnce<T>(results: Map<string, T>, key: string, compute: () => T): T {
  const result = results.get(key) ?? compute();
  results.set(key, result);
  return result;
}
