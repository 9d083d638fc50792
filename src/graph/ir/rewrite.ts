/** Rewrites graphs: replaces nodes, or turns intermediate values into inputs. */
import { type Graph, type Node, outputsOf, type Value, type ValueType } from "./graph.ts";
import { GraphBuilder } from "./graph_builder.ts";

/** Builds the replacement of one node from its inputs in the new graph. */
export type Rewrite = (b: GraphBuilder, node: Node, inputs: readonly Value[]) => Value;

export interface RewriteOptions {
  /** The rule for a node; undefined keeps it. */
  readonly ruleFor: (node: Node) => Rewrite | undefined;
  /** Element type of an input in the new graph; unchanged when absent. */
  readonly inputType?: (input: Value) => ValueType;
}

/** Rewrites the nodes of a graph; inputs and outputs keep their names. */
export function rewriteGraph(
  graph: Graph,
  { ruleFor, inputType = ({ type }) => type }: RewriteOptions,
): Graph {
  const b = new GraphBuilder({ fused: false });
  const values = new Map<string, Value>();
  for (const input of graph.inputs)
    values.set(input.name, b.input(input.name, input.shape, inputType(input)));
  for (const { value, data } of graph.constants) {
    values.set(value.name, b.constant(value.shape as readonly number[], { type: value.type, data }));
  }
  for (const node of graph.nodes) {
    const inputs = node.inputs.map(({ name }) => values.get(name)!);
    const keep: Rewrite = () => b.operator(node.op, inputs, { ...node.output, attributes: node.attributes });
    const { others = [] } = node;
    if (others.length === 0) values.set(node.output.name, (ruleFor(node) ?? keep)(b, node, inputs));
    else {
      const results = [{ ...node.output, attributes: node.attributes }, ...others];
      for (const [index, value] of b.severalOutputs(node.op, inputs, results).entries())
        values.set(outputsOf(node)[index]!.name, value);
    }
  }
  for (const [name, { name: value }] of graph.outputs) b.output(name, values.get(value)!);
  return b.finish();
}

/**
 * The graph with some of its intermediate values as inputs instead, by their names in the map. Inputs, nodes and
 * constants that no output depends on any more are dropped.
 */
export function valuesAsInputs(graph: Graph, values: ReadonlyMap<string, Value>): Graph {
  const inputFor = new Map(Array.from(values, ([name, value]) => [value.name, { ...value, name }]));
  const needed = new Set<string>();
  for (const { name } of graph.outputs.values()) needed.add(name);
  const runs = (node: Node): boolean =>
    outputsOf(node).some(({ name }) => needed.has(name) && !inputFor.has(name));
  for (const node of graph.nodes.toReversed()) {
    if (runs(node)) for (const { name } of node.inputs) needed.add(name);
  }
  const isNeeded = ({ name }: Value): boolean => needed.has(name);
  const replaced = (value: Value): Value => inputFor.get(value.name) ?? value;
  return {
    ...graph,
    inputs: [...graph.inputs, ...values.values()].filter(isNeeded).map(replaced),
    nodes: graph.nodes.filter(runs).map((node) => ({ ...node, inputs: node.inputs.map(replaced) })),
    constants: graph.constants.filter(({ value }) => isNeeded(value)),
    outputs: new Map(Array.from(graph.outputs, ([name, value]) => [name, replaced(value)])),
  };
}
