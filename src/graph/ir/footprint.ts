/**
 * Peak memory of a run of a graph, from its shapes alone: nodes run one after the other and every value is freed after
 * its last use. ONNX Runtime fuses operators and computes some in place, so it takes a little less.
 *
 * It does not run nodes in the order of the file: it goes back from the outputs, one input at a time. Where several
 * outputs add up blocks, as the gradients of queries, keys and values do in blockwise attention, that keeps what they
 * share of all blocks, where the order of the file would free it block by block.
 */
import { elementCount } from "../../tensor/tensor.ts";
import { type Graph, type Node, outputsOf, VALUE_BYTES, type Value } from "./graph.ts";
import { type Sizes, shapeOf } from "./product_sizes.ts";

/** Operators that return their first input in another shape, without a copy. */
const VIEWS: ReadonlySet<string> = new Set(["Reshape", "Flatten"]);

/**
 * Peak bytes of a run besides its inputs, in the graph's order or ONNX Runtime's, whichever takes more: fused operators
 * have other places in the latter. Outputs count twice, since they are copied out.
 * @param sizes - of the graph's symbolic dimensions: `B`, `T`, ...
 */
export function footprint({ nodes, outputs: named }: Graph, sizes: Sizes): number {
  const outputs = [...named.values()];
  return Math.max(...[nodes, runtimeOrder(nodes)].map((order) => peakOf(order, outputs, sizes)));
}

/**
 * The order in which ONNX Runtime runs nodes: depth first from those whose output no node uses, later ones first
 * (`Graph::ReverseDFSFrom` with `NodeCompare`, onnxruntime/core/graph/graph.cc and graph_viewer.cc of 1.30).
 */
function runtimeOrder(nodes: readonly Node[]): readonly Node[] {
  const makers = new Map(nodes.flatMap((node, index) => outputsOf(node).map(({ name }) => [name, index])));
  const used = new Set(nodes.flatMap(({ inputs }) => inputs.map(({ name }) => name)));
  const order: Node[] = [];
  const visited = new Set<number>();
  /** Nodes to visit and, after their inputs, to run. */
  const stack = nodes.flatMap((node, index) =>
    outputsOf(node).some(({ name }) => used.has(name)) ? [] : [{ index, runs: false }],
  );
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { index, runs } = top;
    if (runs) order.push(nodes[index]!);
    if (visited.has(index)) continue;
    visited.add(index);
    stack.push({ index, runs: true });
    const earlier = nodes[index]!.inputs.flatMap(({ name }) => makers.get(name) ?? []);
    for (const maker of earlier.sort((a, b) => a - b)) stack.push({ index: maker, runs: false });
  }
  return order;
}

/** Peak bytes of a run in this order. */
function peakOf(nodes: readonly Node[], outputs: readonly Value[], sizes: Sizes): number {
  const owner = new Map<string, string>();
  const ownerOf = ({ name }: Value): string => owner.get(name) ?? name;
  for (const { op, inputs, output } of nodes) if (VIEWS.has(op)) owner.set(output.name, ownerOf(inputs[0]!));
  const lastUse = new Map<string, number>();
  for (const [index, { inputs }] of nodes.entries()) {
    for (const input of inputs) lastUse.set(ownerOf(input), index);
  }
  for (const output of outputs) lastUse.set(ownerOf(output), nodes.length);
  const freedAfter = Array.from(nodes, (): number => 0);
  let [live, peak] = [0, 0];
  for (const [index, node] of nodes.entries()) {
    for (const output of outputsOf(node)) {
      if (owner.has(output.name)) continue;
      const bytes = bytesOf(output, sizes);
      live += bytes;
      const end = lastUse.get(output.name) ?? index;
      if (end < freedAfter.length) freedAfter[end]! += bytes;
    }
    peak = Math.max(peak, live);
    live -= freedAfter[index]!;
  }
  return Math.max(peak, live + valueBytes(outputs, sizes));
}

/** Total bytes of values. @param sizes - of their symbolic dimensions */
export function valueBytes(values: readonly Value[], sizes: Sizes): number {
  return values.reduce((sum, value) => sum + bytesOf(value, sizes), 0);
}

function bytesOf(value: Value, sizes: Sizes): number {
  return VALUE_BYTES[value.type] * elementCount(shapeOf(value, sizes));
}
