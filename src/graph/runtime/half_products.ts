/**
 * Products with weights in half precision: both operands are rounded to float16, the product is converted to float32.
 * All else stays float32: norms, softmax, attention's own products, losses, and all sums over tokens.
 */
import type { Graph, Node } from "../ir/graph.ts";
import { type Rewrite, rewriteGraph } from "../ir/rewrite.ts";

const PRODUCTS: ReadonlySet<string> = new Set(["MatMul", "FusedMatMul"]);

/** @param storesHalf - whether the weights are fed as float16; else they are fed as float32 and rounded in the graph */
export function halfProducts(graph: Graph, { storesHalf }: { readonly storesHalf: boolean }): Graph {
  const weights = weightsOf(graph);
  return rewriteGraph(graph, {
    ruleFor: (node) => (isProductWith(weights, node) ? inHalf : undefined),
    inputType: (input) => (storesHalf && weights.has(input.name) ? "float16" : input.type),
  });
}

const inHalf: Rewrite = (b, { op, output, attributes }, [left, weight]) => {
  const operands = [b.cast(left!, "float16"), b.cast(weight!, "float16")];
  return b.cast(b.operator(op, operands, { shape: output.shape, attributes }), "float32");
};

/** Names of the input matrices that are only used as right operands of products. */
function weightsOf({ inputs, nodes }: Graph): ReadonlySet<string> {
  const matrices = inputs.filter(({ shape, type }) => shape.length === 2 && type === "float32");
  const names = new Set(matrices.map(({ name }) => name));
  for (const { op, inputs: operands } of nodes) {
    for (const [index, { name }] of operands.entries()) {
      const isRightOperand = index === 1 && PRODUCTS.has(op);
      if (!isRightOperand) names.delete(name);
    }
  }
  return names;
}

function isProductWith(weights: ReadonlySet<string>, { op, inputs }: Node): boolean {
  return PRODUCTS.has(op) && weights.has(inputs[1]!.name);
}
