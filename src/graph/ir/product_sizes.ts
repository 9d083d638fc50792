/**
 * Options of a graph's matrix products, and the sizes of its products and values, once those of its symbolic dimensions
 * are known.
 */
import { internalError } from "../../errors.ts";
import { elementCount } from "../../tensor/tensor.ts";
import type { Graph, Node, Value } from "./graph.ts";
import type { MatMulOptions } from "./graph_builder.ts";
import type { Dim } from "./shapes.ts";

/** Sizes of symbolic dimensions by name: `B`, `T`, ... */
export type Sizes = Readonly<Record<string, number>>;

/** Sizes of a product [M, K] x [K, N], or of a batch of them. */
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

/** Transpositions and factor of a MatMul or FusedMatMul. */
export function productOptions({ attributes: { transA, transB, alpha } }: Node): Required<MatMulOptions> {
  const scaled = typeof alpha === "object" && "float" in alpha;
  return { transA: transA === 1, transB: transB === 1, alpha: scaled ? alpha.float : 1 };
}

/** The float32 products of a graph. */
export function productsOf(graph: Graph, sizes: Sizes): readonly ProductSizes[] {
  return graph.nodes.flatMap((node) => {
    const isProduct = node.op === "MatMul" || node.op === "FusedMatMul";
    return isProduct && node.output.type === "float32" ? [productSizes(node, sizes)] : [];
  });
}

/** Floating-point operations of a graph's float32 products: one multiplication and one addition per term. */
export function operationsOf(graph: Graph, sizes: Sizes): number {
  return productsOf(graph, sizes).reduce(
    (sum, { batch, rows, inner, columns }) => sum + 2 * batch * rows * inner * columns,
    0,
  );
}

function productSizes(node: Node, sizes: Sizes): ProductSizes {
  const { inputs, output } = node;
  const [left, right] = inputs.map((value) => shapeOf(value, sizes)) as [
    readonly number[],
    readonly number[],
  ];
  const { transA, alpha } = productOptions(node);
  const shape = shapeOf(output, sizes);
  const [rows, columns] = shape.slice(-2) as [number, number];
  const inner = left.at(transA ? -2 : -1)!;
  const leading = elementCount(shape.slice(0, -2));
  // A batch multiplied by one shared matrix is a single product of all its rows.
  const isFolded = right.length === 2 && !transA;
  return {
    batch: isFolded ? 1 : leading,
    rows: isFolded ? leading * rows : rows,
    inner,
    columns,
    transA,
    scaled: alpha !== 1,
  };
}

/** @throws GpruneError INTERNAL when a size is not known */
export function shapeOf({ name, shape }: Value, sizes: Sizes): readonly number[] {
  return shape.map((dim) => {
    const size = sizeOf(dim, sizes);
    if (size === undefined) throw internalError(`the size ${dim} of ${name} is not known`);
    return size;
  });
}

/**
 * The size of a dimension: a number, a name, a product, part or sum (`B*T+1`, `F/4`); undefined if a name is unknown.
 */
function sizeOf(dim: Dim, sizes: Sizes): number | undefined {
  if (typeof dim === "number") return dim;
  const size = sizes[dim] ?? dim.split("+").reduce((sum, term) => sum + productOf(term, sizes), 0);
  return Number.isNaN(size) ? undefined : size;
}

/** The size of a product of numbers and names, or of a part of one; NaN when a name is unknown. */
function productOf(term: string, sizes: Sizes): number {
  const [product = "", parts = "1"] = term.split("/");
  const factors = product.split("*").map((factor) => {
    return /^\d+$/.test(factor) ? Number(factor) : (sizes[factor] ?? Number.NaN);
  });
  return factors.reduce((all, factor) => all * factor, 1) / Number(parts);
}
