import { describe, expect, test } from "vitest";
import type { Graph, Value } from "./graph.ts";
import { GraphBuilder } from "./graph_builder.ts";
import { rewriteGraph, valuesAsInputs } from "./rewrite.ts";

/** x goes through exp, an operator with two outputs, and neg on each of these. */
function graphOf(outputs: readonly ("first" | "second")[]): { graph: Graph; values: Map<string, Value> } {
  const b = new GraphBuilder();
  const growing = b.exp(b.input("x", ["T"]));
  const [first, second] = b.severalOutputs("TopK", [growing], [{ shape: ["T"] }, { shape: ["T"] }]);
  const values = new Map(Object.entries({ first, second }));
  for (const name of outputs) b.output(name, b.neg(values.get(name)!));
  return { graph: b.finish(), values };
}

const operators = ({ nodes }: Graph): readonly string[] => nodes.map(({ op }) => op);

describe("operators with two outputs", () => {
  test("stay where either output is needed", () => {
    for (const name of ["first", "second"] as const) {
      const { graph } = graphOf([name]);
      expect(operators(valuesAsInputs(graph, new Map()))).toEqual(["Exp", "TopK", "Neg"]);
    }
  });

  test("stay where one output becomes an input and the other is needed, and else go", () => {
    const { graph, values } = graphOf(["first", "second"]);
    const [first, second] = [values.get("first")!, values.get("second")!];
    const one = valuesAsInputs(graph, new Map([["kept", second]]));
    expect(operators(one)).toEqual(["Exp", "TopK", "Neg", "Neg"]);
    expect(one.nodes.at(-1)!.inputs[0]!.name).toBe("kept");
    const both = new Map([
      ["kept", second],
      ["other", first],
    ]);
    const none = valuesAsInputs(graph, both);
    expect(operators(none)).toEqual(["Neg", "Neg"]);
    expect(none.inputs.map(({ name }) => name)).toEqual(["kept", "other"]);
  });

  test("keep both outputs where other nodes are replaced", () => {
    const { graph } = graphOf(["first", "second"]);
    const rewritten = rewriteGraph(graph, {
      ruleFor: ({ op }) => (op === "Exp" ? (b, _node, [x]) => b.abs(x!) : undefined),
    });
    const [abs, both, ...negs] = rewritten.nodes;
    expect(operators(rewritten)).toEqual(["Abs", "TopK", "Neg", "Neg"]);
    expect(both!.inputs).toEqual([abs!.output]);
    expect(negs.map(({ inputs }) => inputs[0])).toEqual([both!.output, both!.others![0]]);
  });
});
