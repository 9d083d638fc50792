import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Array64, evaluateGraph } from "../../../test/evaluate_graph.ts";
import { maxDifference } from "../../../test/numbers.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import { elementCount } from "../../tensor/tensor.ts";
import { Runtime } from "../runtime/runtime.ts";
import type { Value } from "./graph.ts";
import { GraphBuilder } from "./graph_builder.ts";
import { gatherElements, last, scatterAdd } from "./operators.ts";
import { broadcast, type Dim } from "./shapes.ts";

/** Shapes of inputs, the value that is built from them, and its expected shape. */
interface Case {
  readonly inputs: readonly (readonly Dim[])[];
  readonly build: (b: GraphBuilder, inputs: readonly Value[]) => Value;
  readonly shape: readonly Dim[];
}

/** Sizes of the symbolic dimensions when a case is run. */
const SIZES: Readonly<Record<string, number>> = { B: 2, T: 3, M: 4, N: 5 };

const CASES: Readonly<Record<string, Case>> = {
  add: { inputs: [["B", "T", 4], [4]], build: (b, [x, y]) => b.add(x!, y!), shape: ["B", "T", 4] },
  sub: {
    inputs: [
      ["B", 1],
      [1, "T"],
    ],
    build: (b, [x, y]) => b.sub(x!, y!),
    shape: ["B", "T"],
  },
  mul: { inputs: [[3], ["B", 3]], build: (b, [x, y]) => b.mul(x!, y!), shape: ["B", 3] },
  div: { inputs: [["B"]], build: (b, [x]) => b.div(x!, b.scalar(7)), shape: ["B"] },
  greater: { inputs: [["B", 3], [3]], build: (b, [x, y]) => b.greater(x!, y!), shape: ["B", 3] },
  neg: { inputs: [["B"]], build: (b, [x]) => b.neg(x!), shape: ["B"] },
  abs: { inputs: [["B", 5]], build: (b, [x]) => b.abs(x!), shape: ["B", 5] },
  exp: { inputs: [["B"]], build: (b, [x]) => b.exp(x!), shape: ["B"] },
  sqrt: { inputs: [["B"]], build: (b, [x]) => b.sqrt(b.abs(x!)), shape: ["B"] },
  sigmoid: { inputs: [["B"]], build: (b, [x]) => b.sigmoid(x!), shape: ["B"] },
  tanh: { inputs: [["B"]], build: (b, [x]) => b.tanh(x!), shape: ["B"] },
  softmax: { inputs: [["B", "T"]], build: (b, [x]) => b.softmax(x!), shape: ["B", "T"] },
  logSoftmax: { inputs: [["B", "T"]], build: (b, [x]) => b.logSoftmax(x!), shape: ["B", "T"] },
  matmul: {
    inputs: [
      ["B", "M", 3],
      [3, "N"],
    ],
    build: (b, [x, y]) => b.matmul(x!, y!),
    shape: ["B", "M", "N"],
  },
  "matmul transposed and scaled": {
    inputs: [
      ["B", 3, "M"],
      ["B", "N", 3],
    ],
    build: (b, [x, y]) => b.matmul(x!, y!, { transA: true, transB: true, alpha: 0.5 }),
    shape: ["B", "M", "N"],
  },
  transpose: { inputs: [["B", "T", 2]], build: (b, [x]) => b.transpose(x!, [2, 0, 1]), shape: [2, "B", "T"] },
  "reshape that splits an axis": {
    inputs: [["B", "T", 6]],
    build: (b, [x]) => b.reshape(x!, ["B", "T", 2, 3]),
    shape: ["B", "T", 2, 3],
  },
  "reshape that joins axes": {
    inputs: [["B", "T", 2]],
    build: (b, [x]) => b.reshape(x!, ["rows", 2]),
    shape: ["rows", 2],
  },
  flatten: { inputs: [["B", "T", 2]], build: (b, [x]) => b.flatten(x!), shape: ["B*T", 2] },
  reduceSum: { inputs: [["B", "T", 2]], build: (b, [x]) => b.reduceSum(x!, [0, -1]), shape: [1, "T", 1] },
  reduceMean: { inputs: [["B", 4]], build: (b, [x]) => b.reduceMean(x!, [-1]), shape: ["B", 1] },
  concat: {
    inputs: [
      ["B", 2],
      ["B", 3],
    ],
    build: (b, inputs) => b.concat(inputs, 1, 5),
    shape: ["B", 5],
  },
  "concat of unknown sizes": {
    inputs: [
      ["T", 2],
      ["N", 2],
    ],
    build: (b, inputs) => b.concat(inputs, 0, "S"),
    shape: ["S", 2],
  },
  slice: { inputs: [["B", 6]], build: (b, [x]) => b.slice(x!, 1, { start: 2, end: 5 }), shape: ["B", 3] },
  pad: {
    inputs: [["B", 2, 2]],
    build: (b, [x]) => b.pad(x!, 1, { before: 1, after: 3 }),
    shape: ["B", 6, 2],
  },
  "pad of an axis of unknown size": {
    inputs: [["B", 2]],
    build: (b, [x]) => b.pad(x!, 0, { before: 1, after: 0 }),
    shape: ["B+1", 2],
  },
  trim: {
    inputs: [["B", 4]],
    build: (b, [x]) => b.trim(x!, 1, { before: 1, after: 2, size: 1 }),
    shape: ["B", 1],
  },
  "trim of an axis of unknown size": {
    inputs: [["T", 2]],
    build: (b, [x]) => b.trim(x!, 0, { before: 1, after: 0, size: "rest" }),
    shape: ["rest", 2],
  },
  last: {
    inputs: [["B", "T"]],
    build: (b, [x]) => last(b, x!, { axis: 1, count: 2 }),
    shape: ["B", 2],
  },
  expandLike: {
    inputs: [
      ["B", 1],
      ["B", "T"],
    ],
    build: (b, [x, y]) => b.expandLike(x!, y!),
    shape: ["B", "T"],
  },
  zerosLike: { inputs: [["B", "T"]], build: (b, [x]) => b.zerosLike(x!), shape: ["B", "T"] },
};

describe("GraphBuilder", () => {
  test.each(Object.entries(CASES))(
    "%s has the right shape, and ONNX Runtime gives the right values",
    async (_, testCase) => {
      const b = new GraphBuilder();
      const inputs = testCase.inputs.map((shape, i) => b.input(`x${i}`, shape));
      const value = testCase.build(b, inputs);
      expect(value.shape).toEqual(testCase.shape);
      b.output("value", value);
      await expectTwinsAgree(b, Object.fromEntries(inputs.map(({ name, shape }) => [name, concrete(shape)])));
    },
  );

  test("gathers and scatters along rows", async () => {
    const b = new GraphBuilder();
    const x = b.input("x", ["B", 3]);
    const places = b.input("places", ["B", 1], "int32");
    const gathered = gatherElements(b, x, places);
    expect(gathered.shape).toEqual(["B", 1]);
    const scattered = scatterAdd(b, x, { index: places, updates: b.exp(gathered) });
    expect(scattered.shape).toEqual(["B", 3]);
    b.output("gathered", gathered);
    b.output("scattered", scattered);
    await expectTwinsAgree(b, { x: [2, 3] }, { places: { shape: [2, 1], data: Int32Array.of(2, 0) } });
  });

  test("keeps inputs, outputs and nodes in an order in which they can run", () => {
    const b = new GraphBuilder();
    const x = b.input("x", ["B"]);
    const y = b.input("y", ["B"]);
    b.output("hidden", b.mul(b.add(x, y), x));
    const { inputs, outputs, nodes } = b.finish();
    expect(inputs.map(({ name }) => name)).toEqual(["x", "y"]);
    expect([...outputs.keys()]).toEqual(["hidden"]);
    expect(nodes.map(({ op }) => op)).toEqual(["Add", "Mul"]);
  });

  test("without FusedMatMul says the same in standard operators", async () => {
    const graphs = [true, false].map((fused) => {
      const b = new GraphBuilder({ fused });
      const [x, y] = [b.input("x", ["B", 3, 4]), b.input("y", ["B", 5, 3])];
      b.output("product", b.matmul(x, y, { transA: true, transB: true, alpha: 0.5 }));
      return b.finish();
    });
    expect(graphs[1]!.nodes.map(({ op }) => op)).toEqual(["Mul", "Transpose", "Transpose", "MatMul"]);
    const feeds = { x: randomTensor([2, 3, 4], { name: "x" }), y: randomTensor([2, 5, 3], { name: "y" }) };
    const runtime = new Runtime({ threads: 1 });
    const [fused, standard] = await Promise.all(
      graphs.map(async (graph, i) => (await runtime.program(String(i), () => graph)).run(feeds)),
    );
    expect(standard!.product!.shape).toEqual(fused!.product!.shape);
    expect(maxDifference(standard!.product!.data, fused!.product!.data)).toBeLessThan(1e-6);
    await runtime.close();
  });

  test("casts to another format, and not to the same one", () => {
    const b = new GraphBuilder();
    const x = b.input("x", ["B", 2]);
    expect(b.cast(x, "float32")).toBe(x);
    const half = b.mul(b.cast(x, "float16"), b.scalar(0.1, "float16"));
    expect(half).toMatchObject({ shape: ["B", 2], type: "float16" });
    // 0x2e66 is the float16 next to 0.1.
    expect(b.finish().constants[0]).toMatchObject({ data: Uint16Array.of(0x2e66) });
  });

  test("knows the numbers of its integer constants only", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [6]);
    b.slice(x, 0, { start: 1, end: 4 });
    const [, start, end, axis] = b.nodes[0]!.inputs;
    expect([start!, end!, axis!].map((value) => b.integersOf(value))).toEqual([[1], [4], [0]]);
    expect(() => b.integersOf(x)).toThrow("internal: x is not a constant");
  });

  const WRONG: Readonly<Record<string, (b: GraphBuilder, x: Value) => Value>> = {
    "shapes [B, T, 6] and [5] do not broadcast": (b, x) => b.add(x, b.input("y", [5])),
    "shapes [B, T, 6] and [N, T, 6] do not broadcast": (b, x) => b.mul(x, b.input("y", ["N", "T", 6])),
    "matmul of x [B, T, 6] and y [5, 6]": (b, x) => b.matmul(x, b.input("y", [5, 6])),
    "matmul of y [6]": (b, x) => b.matmul(x, b.input("y", [6])),
    "reshape of x [B, T, 6] to [K, M] has two unknown sizes": (b, x) => b.reshape(x, ["K", "M"]),
    "reshape of y [2, 3] to [4, 2] changes the number of elements": (b) =>
      b.reshape(b.input("y", [2, 3]), [4, 2]),
    "transpose of x [B, T, 6] by [0, 1]": (b, x) => b.transpose(x, [0, 1]),
    "transpose of x [B, T, 6] by [0, 1, 1]": (b, x) => b.transpose(x, [0, 1, 1]),
    "slice of x [B, T, 6] along axis 2 from 4 to 7": (b, x) => b.slice(x, 2, { start: 4, end: 7 }),
    "slice of x [B, T, 6] along axis 1 from 0 to 1": (b, x) => b.slice(x, 1, { start: 0, end: 1 }),
    "concat of x [B, T, 6], y [B, 6] along axis 2 to 12": (b, x) =>
      b.concat([x, b.input("y", ["B", 6])], 2, 12),
    "concat of x [B, T, 6], x [B, T, 6] along axis 2 to 11": (b, x) => b.concat([x, x], 2, 11),
  };
  test.each(Object.entries(WRONG))("throws: %s", (message, build) => {
    const b = new GraphBuilder();
    const x = b.input("x", ["B", "T", 6]);
    expect(() => build(b, x)).toThrow(`internal: ${message}`);
  });
});

describe("broadcast", () => {
  const shapes = fc.array(fc.constantFrom<Dim>(1, 2, 3, "B", "T"), { maxLength: 4 });
  /** The result, or null where there is none. */
  function attempt(a: readonly Dim[], b: readonly Dim[]): readonly Dim[] | null {
    try {
      return broadcast(a, b);
    } catch {
      return null;
    }
  }

  test("is commutative, and associative where both ways are defined", () => {
    fc.assert(
      fc.property(shapes, shapes, shapes, (a, b, c) => {
        expect(attempt(a, b)).toEqual(attempt(b, a));
        const [ab, bc] = [attempt(a, b), attempt(b, c)];
        if (ab !== null && bc !== null) expect(attempt(ab, c)).toEqual(attempt(a, bc));
      }),
    );
  });

  test("leaves a shape as it is beside ones, itself and a scalar", () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        expect(broadcast(shape, [])).toEqual(shape);
        expect(broadcast(shape, shape)).toEqual(shape);
        expect(
          broadcast(
            shape.map(() => 1),
            shape,
          ),
        ).toEqual(shape);
      }),
    );
  });
});

function concrete(shape: readonly Dim[]): readonly number[] {
  return shape.map((dim) => (typeof dim === "number" ? dim : SIZES[dim]!));
}

/** Runs a graph on random inputs by ONNX Runtime and by the naive twin and compares all outputs. */
async function expectTwinsAgree(
  b: GraphBuilder,
  shapes: Readonly<Record<string, readonly number[]>>,
  integers: Readonly<Record<string, { readonly shape: readonly number[]; readonly data: Int32Array }>> = {},
): Promise<void> {
  const graph = b.finish();
  const floats = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, randomTensor(shape, { name })]),
  );
  const doubles = Object.entries({ ...floats, ...integers }).map(([name, { shape, data }]) => {
    const array: Array64 = { shape, data: Float64Array.from(data) };
    return [name, array] as const;
  });
  const expected = evaluateGraph(graph, Object.fromEntries(doubles));
  const runtime = new Runtime({ threads: 1 });
  try {
    const program = await runtime.program("twin", () => graph);
    const found = await program.run({ ...floats, ...integers });
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    for (const [name, { shape, data }] of Object.entries(expected)) {
      expect(found[name]!.shape).toEqual(shape);
      expect(found[name]!.data).toHaveLength(elementCount(shape));
      expect(maxDifference(found[name]!.data, data)).toBeLessThan(1e-6);
    }
  } finally {
    await runtime.close();
  }
}
