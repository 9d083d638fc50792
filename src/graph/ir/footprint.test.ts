import { describe, expect, test } from "vitest";
import { tinySpec } from "../../../test/tiny_model.ts";
import { momentSizes } from "../../calibrate/moments.ts";
import { HEAD_PROGRAMS } from "../decoder/head_programs.ts";
import { layerStructure } from "../decoder/layer_structure.ts";
import { LAYER_PROGRAMS } from "../decoder/programs.ts";
import { footprint } from "./footprint.ts";
import { GraphBuilder } from "./graph_builder.ts";

describe("footprint", () => {
  test("is what is alive together, and outputs twice", () => {
    const b = new GraphBuilder();
    const x = b.input("x", ["M", 10]);
    // 40 M bytes each: a and c are needed by the last sum, d is gone by then.
    const a = b.exp(x);
    const d = b.neg(a);
    const c = b.abs(d);
    b.output("y", b.add(a, c));
    expect(footprint(b.finish(), { M: 3 })).toBe(3 * 40 * 3);
  });

  test("values stay as long as ONNX Runtime's own order needs them", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [10, "M"]);
    const parts = [b.exp, b.neg].map((operator) => {
      const large = operator.call(b, x);
      return { sum: b.reduceSum(large, [0]), most: b.reduceMax(large, [0]) };
    });
    for (const key of ["sum", "most"] as const) {
      const values = parts.map((part) => part[key]);
      b.output(key, b.concat(values, 0, 2));
    }
    // In the order of the file there is one large value at a time; one output after the other needs both at once.
    expect(footprint(b.finish(), { M: 100 })).toBeGreaterThanOrEqual(2 * 4000);
  });

  test("the end of a graph counts its outputs and their copies", () => {
    const b = new GraphBuilder();
    const x = b.input("x", ["M", 10]);
    b.output("first", b.exp(x));
    b.output("second", b.neg(x));
    expect(footprint(b.finish(), { M: 1 })).toBe(4 * 40);
  });

  test("other shapes of a value are no values of their own, and keep it alive", () => {
    const b = new GraphBuilder();
    const x = b.input("x", ["B", "T", 4]);
    const rows = b.flatten(b.exp(x));
    const gram = b.matmul(rows, rows, { transA: true });
    b.output("sum", b.reduceSum(gram, [0]));
    // exp and gram together: 2 * 3 * 4 and 4 * 4 numbers.
    expect(footprint(b.finish(), { B: 2, T: 3 })).toBe(4 * (24 + 16));
  });

  test("refuses a graph with a symbolic size that has no value", () => {
    const b = new GraphBuilder();
    b.output("y", b.exp(b.input("x", ["M", "Q"])));
    expect(() => footprint(b.finish(), { M: 1 })).toThrow("internal: the size Q of Exp_0 is not known");
  });

  test("knows every program's dimensions, and grows with each of them", () => {
    const spec = tinySpec({ vocabSize: 500 });
    const sizes = {
      B: 2,
      T: 16,
      K: 2,
      N: 4,
      F: 64,
      H: 4,
      gT: 32,
      P: 0,
      S: 16,
      ...momentSizes("kv", 16),
      ...momentSizes("ffn", 64),
      "kv.V": 2,
      "kv.r": 4,
      "ffn.r": 3,
      "ffn.V": 2,
    };
    for (const [program, build] of Object.entries(LAYER_PROGRAMS)) {
      const graph = build(layerStructure(spec, 0));
      const bytes = footprint(graph, sizes);
      expect(bytes, program).toBeGreaterThan(4 * 2 * 16 * 8);
      expect(footprint(graph, { ...sizes, B: 4 }), program).toBeGreaterThan(bytes);
    }
    for (const [program, build] of Object.entries(HEAD_PROGRAMS)) {
      expect(footprint(build(spec), { M: 8, V: 500, A: 1 }), program).toBeGreaterThanOrEqual(4 * 8 * 500);
    }
  });
});
