/**
 * Limits the threads of a run of a graph so that its bits are those of one thread.
 *
 * Of all operators in use only float32 products depend on threads: ONNX Runtime cuts them into slices, and the size of
 * a slice decides how it adds along K. This is a model of onnxruntime/core/mlas/lib/sgemm.cpp (`MlasGemmBatch`,
 * `MlasSgemmOperation`, the same from 1.9 to 1.30), to find a number of threads whose slices all add as the uncut
 * product does. Independent of what the graph computes.
 */
import type { Graph, Node } from "../ir/graph.ts";
import { type ProductSizes, productsOf, type Sizes, shapeOf } from "../ir/product_sizes.ts";
import { SOME_ROWS } from "../ir/shapes.ts";

/** Multiplications per thread (MLAS_SGEMM_THREAD_COMPLEXITY). */
const THREAD_COMPLEXITY = 2 ** 16;
/** Columns are assigned to threads in blocks of this size (MLAS_SGEMM_STRIDEN_THREAD_ALIGN). */
const COLUMN_BLOCK = 16;
/** Columns and inner elements that are processed at a time (MLAS_SGEMM_STRIDEN, MLAS_SGEMM_STRIDEK). */
const STRIDE = 128;
/** Slices narrower than this do not lengthen the stride along K further. */
const NARROWEST_STRIDE = 16;

/** Shapes of the feeds of a graph, by input name. */
export type FedShapes = Readonly<Record<string, { readonly shape: readonly number[] }>>;

/**
 * The largest number of threads up to `threads` with which a run gives the bits of a run with one.
 * @throws GpruneError INTERNAL when a size of a product does not follow from the inputs
 */
export function threadLimit(graph: Graph, feeds: FedShapes, threads: number): number {
  const sizes = sizesByName(graph, feeds);
  const products = possibleProducts(distinctOf(graph), sizes, threads);
  let limit = threads;
  while (limit > 1 && !products.every((product) => addsAlike(product, limit))) limit--;
  return limit;
}

/** Graphs with one of the products of each shape alone, as those of experts have the same. */
const DISTINCT = new WeakMap<Graph, Graph>();

function distinctOf(graph: Graph): Graph {
  const known = DISTINCT.get(graph);
  if (known !== undefined) return known;
  const shapeOfNode = ({ op, inputs, output, attributes }: Node): string =>
    JSON.stringify([op, [...inputs, output].map(({ shape }) => shape), attributes]);
  const isUsed = ({ op }: Node): boolean => op.endsWith("MatMul") || op === "Split";
  const nodes = graph.nodes.filter(isUsed).map((node) => [shapeOfNode(node), node] as const);
  const distinct = { ...graph, nodes: [...new Map(nodes).values()] };
  DISTINCT.set(graph, distinct);
  return distinct;
}

/**
 * The products of a graph; those of `SOME_ROWS`, with numbers of rows that stand for all that there may be. With the
 * most of them, or the most that are given out by columns, they are cut into the most slices, and with more than two a
 * thread no slice has a single row.
 */
function possibleProducts(graph: Graph, sizes: Sizes, threads: number): readonly ProductSizes[] {
  const most = mostRows(graph, sizes);
  const productsOfRows = (rows: number): readonly ProductSizes[] =>
    productsOf(graph, { ...sizes, [SOME_ROWS]: rows });
  const all = productsOfRows(most);
  if (most === 0) return all;
  const one = productsOfRows(1);
  const some = all.filter(({ rows }, index) => rows !== one[index]!.rows);
  const few = Array.from({ length: 2 * threads }, (_, index) => index + 1);
  return [
    ...all,
    ...some.flatMap((product) =>
      [...few, product.columns - 1].map((rows) => ({ ...product, rows: Math.min(rows, product.rows) })),
    ),
  ];
}

/** The most rows that `SOME_ROWS` can be: those of what is split into groups of rows; 0 where nothing is. */
function mostRows({ nodes }: Graph, sizes: Sizes): number {
  const rows = nodes.map(({ inputs, output }) => {
    const axis = output.shape.indexOf(SOME_ROWS);
    const [whole] = inputs;
    return axis < 0 || whole!.shape[axis] === SOME_ROWS ? 0 : shapeOf(whole!, sizes)[axis]!;
  });
  return Math.max(0, ...rows);
}

/** Whether a product on `threads` threads has the bits of one thread. */
export function addsAlike(sizes: ProductSizes, threads: number): boolean {
  const { batch, rows, inner, columns, transA, scaled } = sizes;
  // Transposing needs panels of a fixed size, so strides are never changed.
  if (transA) return true;
  const wanted = Math.floor((rows * inner * columns) / THREAD_COMPLEXITY) + 1;
  const slices = Math.ceil(Math.min(wanted, threads) / batch);
  if (columns <= rows) {
    // A slice of a single row is computed by another kernel.
    return rows === 1 || Math.floor(rows / Math.min(slices, rows)) > 1;
  }
  // On x86-64 a single row has a kernel of its own, which takes each column by itself.
  if (rows === 1 && !scaled && process.arch === "x64") return true;
  const blocks = Math.ceil(columns / COLUMN_BLOCK);
  const fewest = Math.floor(blocks / Math.min(slices, blocks)) * COLUMN_BLOCK;
  // The last slice ends with the matrix.
  const narrowest = fewest - (blocks * COLUMN_BLOCK - columns);
  return summands(narrowest, inner) === summands(columns, inner);
}

/** Number of products that a slice sums before it adds to the result; never more for wider slices. */
function summands(columns: number, inner: number): number {
  let [along, across] = [STRIDE, STRIDE];
  if (columns < inner) {
    while (across > NARROWEST_STRIDE && across / 2 >= columns) {
      along *= 2;
      across /= 2;
    }
  }
  return Math.min(along, inner);
}

/** Sizes of the symbolic dimensions of inputs, from their feeds; `K*64` gives both the product and K, `F/8` also F. */
function sizesByName({ inputs }: Graph, feeds: FedShapes): Sizes {
  const sizes: Record<string, number> = {};
  for (const { name, shape } of inputs) {
    for (const [axis, dim] of shape.entries()) {
      const size = feeds[name]?.shape[axis];
      if (typeof dim === "number" || size === undefined) continue;
      sizes[dim] = size;
      const [factor, count] = dim.split("*");
      if (count !== undefined && /^\d+$/.test(count)) sizes[factor!] = size / Number(count);
      const [whole, parts] = dim.split("/");
      if (parts !== undefined) sizes[whole!] = size * Number(parts);
    }
  }
  return sizes;
}
