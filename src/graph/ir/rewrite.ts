/** Says a graph anew with other nodes in place of some. */
import { type Graph, GraphBuilder, type Node, type Value, type ValueType } from "./graph.ts";

/** What stands for one node: made of its inputs in the new graph. */
export type Rewrite = (b: GraphBuilder, node: Node, inputs: readonly Value[]) => Value;

export interface RewriteOptions {
  /** The rule for a node; undefined keeps it. */
  readonly ruleFor: (node: Node) => Rewrite | undefined;
  /** The type of an input in the new graph; its own when absent. */
  readonly inputType?: (input: Value) => ValueType;
}

/** The graph with the same inputs and outputs by name, and rewritten nodes. */
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
    values.set(node.output.name, (ruleFor(node) ?? keep)(b, node, inputs));
  }
  for (const [name, { name: value }] of graph.outputs) b.output(name, values.get(value)!);
  return b.finish();
}

/**
 * The graph with some of its values given to it: they are inputs by those names where they are needed, and nodes and
 * inputs that only they needed are gone.
 */
export function graphGiven(graph: Graph, values: ReadonlyMap<string, Value>): Graph {
  const given = new Map(Array.from(values, ([name, value]) => [value.name, { ...value, name }]));
  const needed = new Set<string>();
  for (const { name } of graph.outputs.values()) needed.add(name);
  for (const { inputs, output } of graph.nodes.toReversed()) {
    if (!needed.has(output.name) || given.has(output.name)) continue;
    for (const { name } of inputs) needed.add(name);
  }
  const present = ({ name }: Value): boolean => needed.has(name);
  const renamed = (value: Value): Value => given.get(value.name) ?? value;
  return {
    ...graph,
    inputs: graph.inputs
      .concat([...values.values()])
      .filter(present)
      .map(renamed),
    nodes: graph.nodes
      .filter(({ output }) => present(output) && !given.has(output.name))
      .map((node) => ({ ...node, inputs: node.inputs.map(renamed) })),
    constants: graph.constants.filter(({ value }) => present(value)),
    outputs: new Map(Array.from(graph.outputs, ([name, value]) => [name, renamed(value)])),
  };
}
