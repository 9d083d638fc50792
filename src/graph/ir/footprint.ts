/**
 * Peak memory of a run of a graph, from its shapes alone: nodes run in order and every value is freed after its last
 * use. ONNX Runtime fuses operators and computes some in place, so it takes a little less.
 */
import { elementCount } from "../../tensor/tensor.ts";
import { type Graph, VALUE_BYTES, type Value } from "./graph.ts";
import { type Sizes, shapeOf } from "./product_sizes.ts";

/** Operators that return their first input in another shape, without a copy. */
const VIEWS: ReadonlySet<string> = new Set(["Reshape", "Flatten"]);

/**
 * Peak bytes of a run besides its inputs; outputs count twice, since they are copied out.
 * @param sizes - of the graph's symbolic dimensions: `B`, `T`, ...
 */
export function footprint(graph: Graph, sizes: Sizes): number {
  const outputs = [...graph.outputs.values()];
  const owner = new Map<string, string>();
  const ownerOf = ({ name }: Value): string => owner.get(name) ?? name;
  for (const { op, inputs, output } of graph.nodes)
    if (VIEWS.has(op)) owner.set(output.name, ownerOf(inputs[0]!));
  const lastUse = new Map<string, number>();
  for (const [index, { inputs }] of graph.nodes.entries()) {
    for (const input of inputs) lastUse.set(ownerOf(input), index);
  }
  for (const output of outputs) lastUse.set(ownerOf(output), graph.nodes.length);
  const freedAfter = Array.from(graph.nodes, (): number => 0);
  let [live, peak] = [0, 0];
  for (const [index, { output }] of graph.nodes.entries()) {
    if (!owner.has(output.name)) {
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
