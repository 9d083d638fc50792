/**
 * How much memory a run of a graph takes, from its shapes alone: what is alive at one time when the nodes run in their
 * order and every value goes after its last use. ONNX Runtime joins operators and reuses memory in place, so it takes a
 * little less.
 */
import { elementCount } from "../../tensor/tensor.ts";
import { type Graph, VALUE_BYTES, type Value } from "./graph.ts";
import { type Sizes, shapeOf } from "./product_sizes.ts";

/** Operators whose result is their first input in another shape, and takes no memory. */
const VIEWS: ReadonlySet<string> = new Set(["Reshape", "Flatten"]);

/**
 * Bytes of a run besides its inputs, at most at one time; outputs count twice, since they are copied out.
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
  const ends = Array.from(graph.nodes, (): number => 0);
  let [alive, peak] = [0, 0];
  for (const [index, { output }] of graph.nodes.entries()) {
    if (!owner.has(output.name)) {
      const bytes = bytesOf(output, sizes);
      alive += bytes;
      const end = lastUse.get(output.name) ?? index;
      if (end < ends.length) ends[end]! += bytes;
    }
    peak = Math.max(peak, alive);
    alive -= ends[index]!;
  }
  return Math.max(peak, alive + valueBytes(outputs, sizes));
}

/** Bytes of values. @param sizes - of their symbolic dimensions */
export function valueBytes(values: readonly Value[], sizes: Sizes): number {
  return values.reduce((sum, value) => sum + bytesOf(value, sizes), 0);
}

function bytesOf(value: Value, sizes: Sizes): number {
  return VALUE_BYTES[value.type] * elementCount(shapeOf(value, sizes));
}
