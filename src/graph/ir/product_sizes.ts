/**
 * How matrix products read their operands, and the sizes of a graph's values and products, once those of its symbolic
 * dimensions are known.
 */
import { internalError } from "../../errors.ts";
import { elementCount } from "../../tensor/tensor.ts";
import type { Graph, MatMulOptions, Node, Value } from "./graph.ts";
import type { Dim } from "./shapes.ts";

/** By the names of symbolic dimensions: `B`, `T`, ... */
export type Sizes = Readonly<Record<string, number>>;

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

/** What a product does besides multiplying. */
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

/** Multiplications and additions of a graph's float32 products. */
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
  // All rows by one matrix are one product.
  const joined = right.length === 2 && !transA;
  return {
    batch: joined ? 1 : leading,
    rows: joined ? leading * rows : rows,
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

/** A size: a number, a name, or a product of such (`B*T`); undefined when a name of it is not known. */
function sizeOf(dim: Dim, sizes: Sizes): number | undefined {
  if (typeof dim === "number") return dim;
  const known = sizes[dim];
  if (known !== undefined || !dim.includes("*")) return known;
  return dim.split("*").reduce<number | undefined>((product, factor) => {
    const size = /^\d+$/.test(factor) ? Number(factor) : sizes[factor];
    return product === undefined || size === undefined ? undefined : product * size;
  }, 1);
}
