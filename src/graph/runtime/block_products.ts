/**
 * Products with matrices in blocks of small integers (tensor/blocks.ts) as a graph, in MatMulNBits of com.microsoft.
 *
 * The fast kernels of that operator round what is multiplied to 8 bits for each block of it, off by up to 1/254 of the
 * block's largest value. So x goes in as several rows: its own rounding to 8 bits, which the kernel then finds exact,
 * and what that leaves, which is rounded as well, to 1/254 of 1/254. The sum of two is off by 1.6e-5 of the largest
 * value of a block at most, and takes hardly longer than one row, since the weights are read once. Weights in two terms
 * are exact enough for three. Offsets are multiplied by the sums of the blocks of x, in float32.
 */

import { getOrMake } from "../../base/map_values.ts";
import { internalError } from "../../errors.ts";
import { type BlockLayout, blocksOfRow } from "../../tensor/blocks.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import { type BlockMatrix, blockProduct } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";

/** A matrix of a graph in blocks. */
export interface BlockWeight {
  /** [terms * N, I] */
  readonly matrix: BlockMatrix;
  readonly terms: BlockLayout["terms"];
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
  const { bits, blockSize, offsets, terms } = layout;
  const blocks = blocksOfRow(columns, layout);
  const codes = b.initializer(`${name}.codes`, [terms * rows, blocks, (blockSize * bits) / 8], "uint8");
  const scales = b.initializer(`${name}.scales`, [terms * rows, blocks], "float32");
  return {
    matrix: { bits, blockSize, columns: blocks * blockSize, codes, scales, zeros: null },
    terms,
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
   * @throws GpruneError INTERNAL for several sequences, whose rows would be added up together
   */
  product(x: Value, { matrix, terms, offsets }: BlockWeight): Value {
    const b = this.#b;
    const { blockSize } = matrix;
    if (x.shape[0] !== 1) throw internalError(`product of [${x.shape.join(", ")}] with blocks`);
    const count = terms + 1;
    const key = `${x.name} ${blockSize}`;
    const rows = getOrMake(this.#rows, `${key} ${count}`, () => this.#roundedRows(x, blockSize, count));
    const product = this.#sumOfTerms(blockProduct(b, rows, matrix), terms);
    if (offsets === null) return product;
    const sums = getOrMake(this.#sums, key, () => this.#blockSums(x, blockSize));
    return b.add(product, b.matmul(sums, offsets, { transB: true }));
  }

  /** Products of rows and terms, [rows, T, terms * N], added up: [1, T, N]. */
  #sumOfTerms(products: Value, terms: BlockLayout["terms"]): Value {
    const b = this.#b;
    if (terms === 1) return b.reduceSum(products, [0]);
    const [rows, tokens, both] = products.shape as readonly [number, Dim, number];
    const apart = b.reshape(products, [rows, tokens, terms, both / terms]);
    return b.reshape(b.reduceSum(apart, [0, 2]), [1, tokens, both / terms]);
  }

  /** x rounded to 8 bits in each block, the same of what that leaves, and the rest: [count, T, G * blockSize]. */
  #roundedRows(x: Value, blockSize: number, count: number): Value {
    const b = this.#b;
    let rest = this.#blocksOf(x, blockSize);
    const rows: Value[] = [];
    while (rows.length < count - 1) {
      const largest = b.reduceMax(b.abs(rest), [-1]);
      const scales = b.add(b.mul(largest, b.scalar(1 / LARGEST)), b.scalar(TINY));
      const coarse = b.mul(b.operator("Round", [b.div(rest, scales)], rest), scales);
      rows.push(coarse);
      rest = b.sub(rest, coarse);
    }
    const all = b.concat([...rows, rest], 0, count);
    const [, tokens, blocks] = all.shape as readonly [number, Dim, number];
    return b.reshape(all, [count, tokens, blocks * blockSize]);
  }

  /** [1, T, G] */
  #blockSums(x: Value, blockSize: number): Value {
    const sums = this.#b.reduceSum(this.#blocksOf(x, blockSize), [-1]);
    return this.#b.reshape(sums, sums.shape.slice(0, -1));
  }

  /** [1, T, G, blockSize], zeros behind the end of a row. */
  #blocksOf(x: Value, blockSize: number): Value {
    const columns = x.shape.at(-1) as number;
    const blocks = blocksOfRow(columns, { blockSize });
    const after = blocks * blockSize - columns;
    const whole = after === 0 ? x : this.#b.pad(x, x.shape.length - 1, { before: 0, after });
    return this.#b.reshape(whole, [...x.shape.slice(0, -1), blocks, blockSize]);
  }
}
