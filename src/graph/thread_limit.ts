/**
 * How many threads a run of a graph may have so that its bits are those of one thread.
 *
 * Of all operators that we use only float32 products depend on threads: ONNX Runtime cuts them into slices, and how a
 * slice adds along K follows from its size. Below is what it does, as one reads it in onnxruntime/core/mlas/lib/sgemm.cpp
 * (`MlasGemmBatch`, `MlasSgemmOperation`, the same from 1.9 to 1.30), so that a number of threads can be found whose slices
 * all add as the uncut product does. Nothing here knows what is being computed.
 */
import { internalError } from "../errors.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { Graph, Node, Value } from "./graph.ts";
import type { Dim } from "./shapes.ts";

/** Multiplications for which one more thread is taken (MLAS_SGEMM_THREAD_COMPLEXITY). */
const THREAD_COMPLEXITY = 2 ** 16;
/** Columns are given out in such blocks (MLAS_SGEMM_STRIDEN_THREAD_ALIGN). */
const COLUMN_BLOCK = 16;
/** Columns and inner elements that are worked through at a time (MLAS_SGEMM_STRIDEN, MLAS_SGEMM_STRIDEK). */
const STRIDE = 128;
/** Narrower slices do not lengthen the stride along K further. */
const NARROWEST_STRIDE = 16;

/** Sizes of a product [M, K] x [K, N], or of a batch of such. */
export interface ProductSizes {
  readonly batch: number;
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  /** Whether the left operand is read transposed. */
  readonly transA: boolean;
  /** Whether the product is multiplied by a factor. */
  readonly scaled: boolean;
}

/** Shapes of what a graph is fed, by input name. */
export type FedShapes = Readonly<Record<string, { readonly shape: readonly number[] }>>;

/**
 * The largest number of threads up to `threads` with which a run gives the bits of a run with one.
 * @throws GpruneError INTERNAL when a size of a product does not follow from the inputs
 */
export function threadLimit(graph: Graph, feeds: FedShapes, threads: number): number {
  const products = productsOf(graph, feeds);
  let limit = threads;
  while (limit > 1 && !products.every((product) => addsAlike(product, limit))) limit--;
  return limit;
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

/** How many products a slice of some columns adds up before it adds to the result. Never more for wider slices. */
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

/** The float32 products of a graph with the sizes they have for some inputs. */
function productsOf(graph: Graph, feeds: FedShapes): readonly ProductSizes[] {
  const sizes = sizesByName(graph, feeds);
  return graph.nodes.flatMap((node) => {
    const isProduct = node.op === "MatMul" || node.op === "FusedMatMul";
    return isProduct && node.output.type === "float32" ? [productSizes(node, sizes)] : [];
  });
}

function productSizes(
  { inputs, output, attributes }: Node,
  sizes: ReadonlyMap<string, number>,
): ProductSizes {
  const [left, right] = inputs.map((value) => shapeOf(value, sizes)) as [
    readonly number[],
    readonly number[],
  ];
  const transA = attributes.transA === 1;
  const shape = shapeOf(output, sizes);
  const [rows, columns] = shape.slice(-2) as [number, number];
  const inner = left.at(transA ? -2 : -1)!;
  const leading = elementCount(shape.slice(0, -2));
  // All rows by one matrix are one product.
  const joined = right.length === 2 && !transA;
  const { alpha } = attributes;
  const scaled = typeof alpha === "object" && "float" in alpha && alpha.float !== 1;
  return {
    batch: joined ? 1 : leading,
    rows: joined ? leading * rows : rows,
    inner,
    columns,
    transA,
    scaled,
  };
}

function shapeOf({ name, shape }: Value, sizes: ReadonlyMap<string, number>): readonly number[] {
  return shape.map((dim) => {
    const size = sizeOf(dim, sizes);
    if (size === undefined) throw internalError(`the size ${dim} of ${name} does not follow from the inputs`);
    return size;
  });
}

/** A size: a number, a name, or a product of such (`B*T`); undefined when a name of it is not known. */
function sizeOf(dim: Dim, sizes: ReadonlyMap<string, number>): number | undefined {
  if (typeof dim === "number") return dim;
  const known = sizes.get(dim);
  if (known !== undefined || !dim.includes("*")) return known;
  return dim.split("*").reduce<number | undefined>((product, factor) => {
    const size = /^\d+$/.test(factor) ? Number(factor) : sizes.get(factor);
    return product === undefined || size === undefined ? undefined : product * size;
  }, 1);
}

/** What the inputs say about the names in their shapes. Of `K*64` both the product and K are known. */
function sizesByName({ inputs }: Graph, feeds: FedShapes): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  for (const { name, shape } of inputs) {
    for (const [axis, dim] of shape.entries()) {
      const size = feeds[name]?.shape[axis];
      if (typeof dim === "number" || size === undefined) continue;
      sizes.set(dim, size);
      const [factor, count] = dim.split("*");
      if (count !== undefined && /^\d+$/.test(count)) sizes.set(factor!, size / Number(count));
    }
  }
  return sizes;
}
