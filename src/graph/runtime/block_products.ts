/**
 * Products with matrices in blocks of small integers (tensor/blocks.ts) as a graph, by MatMulNBits of com.microsoft.
 *
 * The fast kernels of that operator quantise each block of x to 8 bits, with errors of up to 1/254 of the block's
 * largest value. So x enters as several rows: x rounded to 8 bits, which the kernel represents exactly, and the
 * residual, which the kernel rounds to 1/254 of 1/254. The sum of two rows is off by at most 1.6e-5 of a block's
 * largest value and hardly slower than one row, since weights are read once. Weights in two terms are precise enough to
 * warrant three rows. Offsets are multiplied by the sums of the blocks of x, in float32.
 */

import { getOrMake } from "../../base/map_values.ts";
import { internalError } from "../../errors.ts";
import { type BlockLayout, blocksOfRow } from "../../tensor/blocks.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { type BlockMatrix, blockProduct } from "../ir/operators.ts";
import type { RowGroups } from "../ir/row_groups.ts";
import type { Dim } from "../ir/shapes.ts";

/** A matrix of a graph in blocks. */
export interface BlockWeight {
  /** [terms * N, I] */
  readonly matrix: BlockMatrix;
  readonly terms: BlockLayout["terms"];
  /** float32 [N, blocks], or null without offsets. */
  readonly offsets: Value | null;
}

/** The largest 8-bit code of an activation: 2^7 - 1. */
const LARGEST = 127;
/** Added to scales, so that no block of zeros is divided by 0. */
const TINY = 1e-30;

/** Parts of a matrix in blocks. */
export const BLOCK_PARTS = ["codes", "scales", "offsets"] as const;
export type BlockPart = (typeof BLOCK_PARTS)[number];

/** Shape [N, I] and layout of a matrix in blocks. */
export interface BlockForm {
  readonly shape: readonly [number, number];
  readonly layout: BlockLayout;
}

/** Adds a matrix [N, I] to a graph as initializers: its parts in the order of `BLOCK_PARTS`, as `NAME.codes` etc. */
export function blockWeight(
  b: GraphBuilder,
  name: string,
  { shape: [rows, columns], layout }: BlockForm,
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

/** Products of one graph; rows and block sums that several of them need are computed once. */
export class BlockProducts {
  readonly #b: GraphBuilder;
  readonly #rows = new Map<string, Value>();
  readonly #sums = new Map<string, Value>();

  constructor(b: GraphBuilder) {
    this.#b = b;
  }

  /**
   * x [1, T, I] times the transpose of a matrix [N, I]: [1, T, N].
   * @throws GpruneError INTERNAL for several sequences, whose products would be summed together
   */
  product(x: Value, weight: BlockWeight): Value {
    return this.#products(x, weight, (rows, product) => product(rows, weight));
  }

  /** The same for groups of tokens, each with a matrix of its own; these have one layout. */
  groupProduct(x: Value, weights: readonly BlockWeight[], groups: RowGroups): Value {
    return this.#products(x, weights[0]!, (rows, product) =>
      groups.each(rows, 1, (own, group) => product(own, weights[group]!)),
    );
  }

  /** @param apply - applies a product to rows [.., T, I] and their matrices, of which `weight` has the layout */
  #products(
    x: Value,
    { matrix: { blockSize }, terms, offsets }: BlockWeight,
    apply: (rows: Value, product: (rows: Value, weight: BlockWeight) => Value) => Value,
  ): Value {
    const b = this.#b;
    if (x.shape[0] !== 1) throw internalError(`product of [${x.shape.join(", ")}] with blocks`);
    const count = terms + 1;
    const key = `${x.name} ${blockSize}`;
    const rows = getOrMake(this.#rows, `${key} ${count}`, () => this.#roundedRows(x, blockSize, count));
    const products = apply(rows, (own, { matrix }) => blockProduct(b, own, matrix));
    const product = this.#sumOfTerms(products, terms);
    if (offsets === null) return product;
    const sums = getOrMake(this.#sums, key, () => this.#blockSums(x, blockSize));
    return b.add(
      product,
      apply(sums, (own, weight) => b.matmul(own, weight.offsets!, { transB: true })),
    );
  }

  /** Sums products [rows, T, terms * N] over rows and terms: [1, T, N]. */
  #sumOfTerms(products: Value, terms: BlockLayout["terms"]): Value {
    const b = this.#b;
    if (terms === 1) return b.reduceSum(products, [0]);
    const [rows, tokens, columns] = products.shape as readonly [number, Dim, number];
    const byTerm = b.reshape(products, [rows, tokens, terms, columns / terms]);
    return b.reshape(b.reduceSum(byTerm, [0, 2]), [1, tokens, columns / terms]);
  }

  /** x rounded to 8 bits per block, each residual likewise, and the last one as it is: [count, T, G * blockSize]. */
  #roundedRows(x: Value, blockSize: number, count: number): Value {
    const b = this.#b;
    let residual = this.#blocksOf(x, blockSize);
    const rows: Value[] = [];
    while (rows.length < count - 1) {
      const largest = b.reduceMax(b.abs(residual), [-1]);
      const scales = b.add(b.mul(largest, b.scalar(1 / LARGEST)), b.scalar(TINY));
      const rounded = b.mul(b.operator("Round", [b.div(residual, scales)], residual), scales);
      rows.push(rounded);
      residual = b.sub(residual, rounded);
    }
    const stacked = b.concat([...rows, residual], 0, count);
    const [, tokens, blocks] = stacked.shape as readonly [number, Dim, number];
    return b.reshape(stacked, [count, tokens, blocks * blockSize]);
  }

  /** Sums of the blocks of x, [1, T, G]. */
  #blockSums(x: Value, blockSize: number): Value {
    const sums = this.#b.reduceSum(this.#blocksOf(x, blockSize), [-1]);
    return this.#b.reshape(sums, sums.shape.slice(0, -1));
  }

  /** x in blocks, [1, T, G, blockSize], the last one padded with zeros. */
  #blocksOf(x: Value, blockSize: number): Value {
    const columns = x.shape.at(-1) as number;
    const blocks = blocksOfRow(columns, { blockSize });
    const after = blocks * blockSize - columns;
    const padded = after === 0 ? x : this.#b.pad(x, x.shape.length - 1, { before: 0, after });
    return this.#b.reshape(padded, [...x.shape.slice(0, -1), blocks, blockSize]);
  }
}
