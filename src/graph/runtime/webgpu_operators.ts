/**
 * Replacements for the operators of our graphs that ONNX Runtime's WebGPU provider lacks. ONNX Runtime does not refuse
 * such a node, but runs it on the CPU and copies its operands back and forth; without these rewrites every product with
 * a transposed weight, which is nearly all work, would run there.
 *
 * Observed with onnxruntime-node 1.30.0; test/webgpu.test.ts checks where every node of every program runs.
 */
import type { Graph, Node, Value } from "../ir/graph.ts";
import type { GraphBuilder, MatMulOptions } from "../ir/graph_builder.ts";
import { log, relu } from "../ir/operators.ts";
import { productOptions } from "../ir/product_sizes.ts";
import { type Rewrite, rewriteGraph } from "../ir/rewrite.ts";

/**
 * Operators that may stay on the CPU: those on sizes of tensors, which are there in any case, and the comparison of two
 * columns of token ids.
 */
export const CPU_OPERATORS: readonly string[] = ["Concat of int64", "Neg of int64", "Equal of int64"];

const REWRITES: Readonly<Record<string, Rewrite>> = {
  FusedMatMul: rewriteProduct,
  LogSoftmax: (b, _node, [x]) => {
    const shifted = b.sub(x!, b.reduceMax(x!, [-1]));
    return b.sub(shifted, log(b, b.reduceSum(b.exp(shifted), [-1])));
  },
  Softplus: (b, _node, [x]) => b.add(relu(b, x!), log(b, b.add(b.scalar(1), b.exp(b.neg(b.abs(x!)))))),
  ConstantOfShape: (b, { output }, [shape]) => b.operator("Expand", [b.scalar(0), shape!], output),
};

/** The graph in operators of the WebGPU provider. */
export function forWebGpu(graph: Graph): Graph {
  return rewriteGraph(graph, { ruleFor: ({ op }) => REWRITES[op] });
}

/**
 * A product that reads its operands transposed. `Gemm` does that for matrices; in a product with a weight the leading
 * axes of the other operand are folded into rows. Where both operands have leading axes, as in attention, nodes
 * transpose them.
 */
function rewriteProduct(b: GraphBuilder, node: Node, [left, right]: readonly Value[]): Value {
  const options = productOptions(node);
  const [x, weight] = [left!, right!];
  if (weight.shape.length > 2) return b.matmul(x, weight, options);
  if (x.shape.length === 2) return gemm(b, [x, weight], options);
  if (options.transA) return b.matmul(x, weight, options);
  const rows = gemm(b, [b.flatten(x), weight], options);
  return unflatten(b, rows, x);
}

function gemm(
  b: GraphBuilder,
  [left, right]: readonly [Value, Value],
  { transA, transB, alpha }: Required<MatMulOptions>,
): Value {
  const rows = left.shape[transA ? 1 : 0]!;
  const columns = right.shape[transB ? 0 : 1]!;
  const attributes = { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } };
  return b.operator("Gemm", [left, right], { shape: [rows, columns], attributes });
}

/** Gives the rows [B*T, N] of a product the leading axes of x [B, T, ..]: [B, T, N]. */
function unflatten(b: GraphBuilder, rows: Value, x: Value): Value {
  const last = x.shape.length - 1;
  const leading = b.operator("Shape", [x], {
    shape: [last],
    type: "int64",
    attributes: { start: 0, end: last },
  });
  const shape = b.concat([leading, b.integers([-1])], 0, last + 1);
  return b.operator("Reshape", [rows, shape], { shape: [...x.shape.slice(0, last), rows.shape[1]!] });
}
