/**
 * The operators of our graphs that ONNX Runtime's WebGPU provider does not have, and what says the same there. A node
 * that the provider lacks is not refused: ONNX Runtime runs it on the CPU and copies its operands back and forth, so
 * without this list every product with a transposed weight, which is nearly all work, would be the CPU's.
 *
 * Observed with onnxruntime-node 1.30.0; test/webgpu.test.ts looks where every node of every program runs.
 */
import type { Graph, GraphBuilder, MatMulOptions, Node, Value } from "../ir/graph.ts";
import { productOptions } from "../ir/product_sizes.ts";
import { type Rewrite, rewriteGraph } from "../ir/rewrite.ts";

/**
 * Operators that stay on the CPU, and may: sizes of tensors, which are there in any case, and the comparison of two
 * columns of token ids.
 */
export const CPU_OPERATORS: readonly string[] = ["Concat of int64", "Neg of int64", "Equal of int64"];

const REWRITES: Readonly<Record<string, Rewrite>> = {
  FusedMatMul: product,
  LogSoftmax: (b, _node, [x]) => {
    const shifted = b.sub(x!, b.reduceMax(x!, [-1]));
    return b.sub(shifted, b.operator("Log", [b.reduceSum(b.exp(shifted), [-1])], reducedTo1(x!)));
  },
  ConstantOfShape: (b, { output }, [shape]) => b.operator("Expand", [b.scalar(0), shape!], output),
};

/** The graph in operators of the WebGPU provider. */
export function forWebGpu(graph: Graph): Graph {
  return rewriteGraph(graph, { ruleFor: ({ op }) => REWRITES[op] });
}

/**
 * A product that reads its operands transposed. `Gemm` can do that, for matrices alone; in a product with a weight all
 * leading axes of the other operand are rows. Where both have leading axes, as in attention, the operands are
 * transposed.
 */
function product(b: GraphBuilder, node: Node, [left, right]: readonly Value[]): Value {
  const options = productOptions(node);
  const [x, weight] = [left!, right!];
  if (weight.shape.length > 2) return b.matmul(x, weight, options);
  if (x.shape.length === 2) return gemm(b, [x, weight], options);
  if (options.transA) return b.matmul(x, weight, options);
  const rows = gemm(b, [b.flatten(x), weight], options);
  return unflattened(b, rows, x);
}

function gemm(
  b: GraphBuilder,
  [a, c]: readonly [Value, Value],
  { transA, transB, alpha }: Required<MatMulOptions>,
): Value {
  const rows = a.shape[transA ? 1 : 0]!;
  const columns = c.shape[transB ? 0 : 1]!;
  const attributes = { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } };
  return b.operator("Gemm", [a, c], { shape: [rows, columns], attributes });
}

/** The rows [B*T, N] of a product with the leading axes of x [B, T, ..]: [B, T, N]. */
function unflattened(b: GraphBuilder, rows: Value, x: Value): Value {
  const last = x.shape.length - 1;
  const leading = b.operator("Shape", [x], {
    shape: [last],
    type: "int64",
    attributes: { start: 0, end: last },
  });
  const rest = b.integers([-1]);
  const shape = b.concat([leading, rest], 0, last + 1);
  return b.operator("Reshape", [rows, shape], { shape: [...x.shape.slice(0, last), rows.shape[1]!] });
}

/** The shape of a reduction over the last axis. */
function reducedTo1({ shape }: Value): Pick<Value, "shape"> {
  return { shape: shape.with(-1, 1) };
}
