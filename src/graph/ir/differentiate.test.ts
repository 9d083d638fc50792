import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Array64, evaluateGraph } from "../../../test/evaluate_graph.ts";
import { maxAbs, maxDifference } from "../../../test/numbers.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import { elementCount } from "../../tensor/tensor.ts";
import { Runtime } from "../runtime/runtime.ts";
import { DIFFERENTIABLE_OPERATORS, gradients } from "./differentiate.ts";
import type { Graph, Value } from "./graph.ts";
import { GraphBuilder } from "./graph_builder.ts";
import {
  ascending,
  atMost,
  clip,
  erf,
  floor,
  gatherElements,
  gatherRows,
  largestMask,
  relu,
  scatterRows,
  softplus,
} from "./operators.ts";
import { RowGroups } from "./row_groups.ts";
import type { Dim } from "./shapes.ts";

/** Sizes of the axes of one test; an axis written as a letter is symbolic in the graph, one as `s.k` is fixed. */
interface Sizes {
  readonly b: number;
  readonly t: number;
  readonly k: number;
  readonly m: number;
  readonly n: number;
}
const size = fc.integer({ min: 1, max: 4 });
const sizes: fc.Arbitrary<Sizes> = fc.record({ b: size, t: size, k: size, m: size, n: size });

/** A differentiable function of some inputs. */
interface Case {
  readonly title: string;
  readonly shapes: (s: Sizes) => readonly (readonly Dim[])[];
  readonly build: (b: GraphBuilder, inputs: readonly Value[], s: Sizes) => Value;
  /** Middle of the interval of length 1 that inputs are drawn from; 0 when absent. */
  readonly centre?: number;
}

const CASES: readonly Case[] = [
  ...(["add", "sub", "mul", "div"] as const).flatMap((op) => [
    elementwise(op, "same shape", (s) => [
      ["b", "t", s.k],
      ["b", "t", s.k],
    ]),
    elementwise(op, "vector on the right", (s) => [["b", "t", s.k], [s.k]]),
    elementwise(op, "scalar on the left", (s) => [[], ["b", s.k]]),
    elementwise(op, "axes of size 1 on both sides", (s) => [
      ["b", 1, s.k],
      [1, "t", 1],
    ]),
    elementwise(op, "missing axis on the left", (s) => [
      [s.t, 1],
      ["b", s.t, s.k],
    ]),
  ]),
  ...(["neg", "exp", "sqrt", "sigmoid", "tanh", "softmax", "logSoftmax"] as const).map((op) => ({
    title: op,
    shapes: (s: Sizes) => [["b", "t", s.k]],
    build: (b: GraphBuilder, [x]: readonly Value[]) => b[op](x!),
    centre: 1,
  })),
  {
    title: "relu on both sides of zero",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => b.add(b.exp(relu(b, x!)), relu(b, b.neg(x!))),
    centre: 1,
  },
  {
    title: "clip between its limits, below and above them",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => {
      const outside = [3, -3].map((factor) => clip(b, b.mul(x!, b.scalar(factor)), 1));
      const bounded = [1, 0.9].map((most) => atMost(b, b.mul(x!, b.scalar(3)), 3 * most - 2.5));
      return [...outside, ...bounded].reduce(
        (sum, clipped) => b.add(sum, b.mul(clipped, x!)),
        b.exp(clip(b, x!, 2)),
      );
    },
    centre: 1,
  },
  {
    title: "softplus of large and small values",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => b.add(softplus(b, b.mul(x!, b.scalar(20))), softplus(b, b.neg(x!))),
  },
  {
    title: "a value and a step of it",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) =>
      b.add(b.mul(b.mul(x!, x!), b.greater(x!, b.scalar(0))), b.mul(x!, b.greater(x!, b.scalar(20)))),
    centre: 10,
  },
  { title: "erf", shapes: (s) => [["b", "t", s.k]], build: (b, [x]) => erf(b, x!) },
  {
    title: "mul of a value with itself",
    shapes: (s) => [["b", s.k]],
    build: (b, [x]) => b.mul(x!, x!),
  },
  {
    title: "two paths from one value",
    shapes: (s) => [["b", s.k]],
    build: (b, [x]) => b.add(b.tanh(x!), b.mul(b.exp(x!), x!)),
  },
  ...matmulCases(),
  {
    title: "transpose of 4 axes",
    shapes: (s) => [["b", "t", s.k, s.m]],
    build: (b, [x]) => b.exp(b.transpose(x!, [2, 0, 3, 1])),
  },
  {
    title: "reshape that splits and joins axes",
    shapes: (s) => [["b", "t", s.k * s.m]],
    build: (b, [x], s) => b.exp(b.reshape(b.reshape(x!, ["b", "t", s.k, s.m]), ["b", "rows", s.m])),
  },
  {
    title: "reduceSum over leading and last axes",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => b.mul(b.exp(b.reduceSum(x!, [0, -1])), x!),
  },
  {
    title: "reduceMean over the last axis",
    shapes: (s) => [["b", s.t, s.k]],
    build: (b, [x]) => b.exp(b.reduceMean(x!, [-1])),
  },
  {
    title: "reduceMean over two fixed axes",
    shapes: (s) => [["b", s.t, s.k]],
    build: (b, [x]) => b.exp(b.reduceMean(x!, [1, 2])),
  },
  {
    title: "reduceMean over axes of unknown size and of a fixed one",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => b.exp(b.reduceMean(x!, [0, 1, 2])),
  },
  {
    title: "concat along the last axis",
    shapes: (s) => [
      ["b", s.k],
      ["b", s.m],
      ["b", s.n],
    ],
    build: (b, inputs, s) => b.exp(b.concat(inputs, 1, s.k + s.m + s.n)),
  },
  {
    title: "concat of a value with itself along a middle axis",
    shapes: (s) => [["b", s.k, "t"]],
    build: (b, [x], s) => b.exp(b.concat([x!, x!], 1, 2 * s.k)),
  },
  {
    title: "slice of a middle axis",
    shapes: (s) => [["b", s.k + 3, s.m]],
    build: (b, [x], s) => b.exp(b.slice(x!, 1, { start: 1, end: 1 + s.k })),
  },
  {
    title: "slices that follow one another, overlap, come twice and leave gaps, along two axes",
    shapes: (s) => [["b", s.k + 3, s.m + 2]],
    build: (b, [x], s) => {
      const bounds = [
        [1, 2],
        [0, 1],
        [1, 3],
        [1, 2],
        [2, s.k + 3],
      ] as const;
      const growing = b.exp(x!);
      const parts = bounds.map(([start, end]) => b.slice(growing, 1, { start, end }));
      const [first, second] = [0, 1].map((start) => b.slice(x!, 2, { start, end: start + 1 }));
      const total = b.concat([...parts, x!, b.slice(x!, 1, { start: 0, end: 1 })], 1, 2 * s.k + 10);
      return b.mul(b.tanh(total), b.mul(b.reduceSum(first!, [1]), b.sigmoid(b.reduceSum(second!, [1]))));
    },
  },
  {
    title: "the middle of an axis of unknown size that is padded first",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => {
      const padded = b.pad(x!, 1, { before: 2, after: 1 });
      return b.exp(b.trim(padded, 1, { before: 1, after: 2, size: "t" }));
    },
  },
  {
    title: "the end of an axis of unknown size that is padded first",
    shapes: (s) => [["t", s.k]],
    build: (b, [x]) =>
      b.exp(b.trim(b.pad(x!, 0, { before: 0, after: 2 }), 0, { before: 2, after: 0, size: "t" })),
  },
  {
    title: "gatherElements",
    shapes: (s) => [["b", s.k]],
    build: (b, [x]) => b.exp(gatherElements(b, x!, b.input("places", ["b", 1], "int32"))),
  },
  {
    title: "rows of all leading axes",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => b.unflatten(b.exp(b.flatten(x!)), x!),
  },
  {
    title: "some rows, and zeros for the others",
    shapes: (s) => [[s.b, s.k]],
    build: (b, [x], s) => {
      const order = ascending(b, b.reshape(b.input("places", [s.b, 1], "int32"), [s.b]));
      const places = b.slice(order, 0, { start: 0, end: Math.ceil(s.b / 2) });
      return scatterRows(b, b.exp(gatherRows(b, x!, places)), { places, like: x! });
    },
  },
  {
    title: "all rows in another order, and each twice",
    shapes: (s) => [["b", s.k]],
    build: (b, [x], s) => {
      const places = b.input("places", [s.b, 1], "int32");
      const order = ascending(b, b.reshape(places, ["b"]));
      const swapped = gatherRows(b, b.exp(x!), order);
      const twice = b.concat([order, order], 0, "b*2");
      return b.mul(gatherRows(b, x!, twice), b.concat([swapped, b.exp(swapped)], 0, "b*2"));
    },
  },
  {
    title: "groups of rows",
    shapes: (s) => [
      ["t", s.k],
      ["b", s.k],
      [s.k, "m"],
      [s.k, "m"],
      [3, "m"],
    ],
    build: (b, [x, y, ...weights]) => {
      const rows = b.exp(b.concat([x!, y!], 0, "t+b"));
      const sizes = b.concat([b.sizes(x!, 0, 1), b.integers([0]), b.sizes(y!, 0, 1)], 0, 3);
      const times = (group: number, x: Value, dim: Dim): Value =>
        b.operator("Expand", [b.integer(group), b.sizes(x, 0, 1)], { shape: [dim] });
      const groupOf = b.concat([times(0, x!, "t"), times(2, y!, "b")], 0, "t+b");
      const groups = new RowGroups(b, { sizes, count: 3, rows: "t+b", slices: false, groupOf });
      const products = groups.each(rows, 0, (own, group) => b.matmul(own, weights[group % 2]!));
      const shifted = b.add(
        groups.each(rows, 0, (own) => b.matmul(own, weights[1]!)),
        groups.rowsOf(weights[2]!),
      );
      return b.mul(products, shifted);
    },
  },
  {
    title: "the largest entry of each row",
    shapes: (s) => [["b", "t", s.k]],
    build: (b, [x]) => b.mul(b.exp(x!), largestMask(b, x!, 1)),
  },
  {
    title: "normalisation as the decoder does it",
    shapes: (s) => [["b", "t", s.k], [s.k]],
    build: (b, [x, weight]) => {
      const meanSquare = b.reduceMean(b.mul(x!, x!), [-1]);
      return b.mul(b.div(x!, b.sqrt(b.add(meanSquare, b.scalar(0.1)))), weight!);
    },
  },
];

function elementwise(op: "add" | "sub" | "mul" | "div", title: string, shapes: Case["shapes"]): Case {
  return { title: `${op}: ${title}`, shapes, build: (b, [x, y]) => b.exp(b[op](x!, y!)), centre: 1 };
}

function matmulCases(): readonly Case[] {
  const batches: readonly (readonly [string, readonly Dim[], readonly Dim[]])[] = [
    ["matrices", [], []],
    ["batch on both sides", ["b"], ["b"]],
    ["two batch axes on both sides", ["b", "t"], ["b", "t"]],
    ["right matrix shared", ["b", "t"], []],
    ["left matrix shared", [], ["b", "t"]],
    ["batch of one on the left", [1, "t"], ["b", 1]],
  ];
  const switches = [false, true].flatMap((transA) => [false, true].map((transB) => ({ transA, transB })));
  return batches.flatMap(([title, left, right]) =>
    switches.flatMap(({ transA, transB }) =>
      [1, 0.7].map((alpha) => ({
        title: `matmul: ${title}, transA ${transA}, transB ${transB}, alpha ${alpha}`,
        shapes: (s: Sizes) => [
          [...left, ...(transA ? [s.k, "m"] : ["m", s.k])],
          [...right, ...(transB ? ["n", s.k] : [s.k, "n"])],
        ],
        build: (b: GraphBuilder, [x, y]: readonly Value[]) => b.matmul(x!, y!, { transA, transB, alpha }),
      })),
    ),
  );
}

/** A case's forward graph, `value`, and the same with `upstream` as input and the gradients of all inputs. */
function graphsOf(testCase: Case, s: Sizes): { readonly forward: Graph; readonly backward: Graph } {
  const start = (): { b: GraphBuilder; inputs: readonly Value[]; value: Value } => {
    const b = new GraphBuilder();
    const inputs = testCase.shapes(s).map((shape, i) => b.input(`x${i}`, shape));
    return { b, inputs, value: testCase.build(b, inputs, s) };
  };
  const forward = start();
  forward.b.output("value", forward.value);
  const { b, inputs, value } = start();
  const seeds = new Map([[value, b.input("upstream", value.shape)]]);
  for (const [i, gradient] of gradients(b, seeds, inputs).entries()) {
    expect(gradient.shape).toEqual(inputs[i]!.shape);
    b.output(`d${i}`, gradient);
  }
  return { forward: forward.b.finish(), backward: b.finish() };
}

function concrete(shape: readonly Dim[], s: Sizes): readonly number[] {
  return shape.map((dim) => (typeof dim === "number" ? dim : s[dim as keyof Sizes]));
}

/** Central differences of sum(value * upstream) by the elements of one input, float64. */
function differences(
  forward: Graph,
  feeds: Readonly<Record<string, Array64>>,
  { input, upstream }: { readonly input: string; readonly upstream: Array64 },
): Float64Array {
  const step = 1e-5;
  const { shape, data } = feeds[input]!;
  const loss = (place: number, shift: number): number => {
    const moved = { shape, data: data.with(place, data[place]! + shift) };
    const { value } = evaluateGraph(forward, { ...feeds, [input]: moved });
    return value!.data.reduce((sum, x, i) => sum + x * upstream.data[i]!, 0);
  };
  return data.map((_, place) => (loss(place, step) - loss(place, -step)) / (2 * step));
}

describe("gradients", () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime({ threads: 1 });
  });
  afterAll(() => runtime.close());

  test.each(CASES)("$title: equal central differences", async (testCase) => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(1000), async (s, seed) => {
        const { forward, backward } = graphsOf(testCase, s);
        const random = (name: string, shape: readonly number[]): Array64 => {
          const { data } = randomTensor(shape, { seed, name, centre: testCase.centre ?? 0 });
          return { shape, data: Float64Array.from(data) };
        };
        const feeds: Record<string, Array64> = {};
        for (const [i, shape] of testCase.shapes(s).entries())
          feeds[`x${i}`] = random(`x${i}`, concrete(shape, s));
        const places = { shape: [s.b, 1], data: new Float64Array(s.b).map((_, row) => row % s.k) };
        const { value } = evaluateGraph(forward, { ...feeds, places });
        const upstream = random("upstream", value!.shape);
        const program = await runtime.program(`${testCase.title} ${JSON.stringify(s)}`, () => backward);
        const found = await program.run({
          ...Object.fromEntries(Object.entries({ ...feeds, upstream }).map(([k, x]) => [k, toFloat32(x)])),
          places: { shape: places.shape, data: Int32Array.from(places.data) },
        });
        for (const input of Object.keys(feeds)) {
          const expected = differences(forward, { ...feeds, places }, { input, upstream });
          const gradient = found[input.replace("x", "d")]!;
          expect(gradient.shape).toEqual(feeds[input]!.shape);
          expect(maxDifference(gradient.data, expected)).toBeLessThan(2e-5 * (1 + maxAbs(expected)));
        }
      }),
      { seed: 1, numRuns: 3 },
    );
  });

  test("has a case for every operator that has a rule", () => {
    const s = { b: 2, t: 2, k: 2, m: 2, n: 2 };
    const tested = new Set(
      CASES.flatMap((testCase) => graphsOf(testCase, s).forward.nodes.map(({ op }) => op)),
    );
    expect(DIFFERENTIABLE_OPERATORS.filter((op) => !tested.has(op))).toEqual([]);
  });

  test("adds up the gradients of several seeds", async () => {
    const b = new GraphBuilder();
    const x = b.input("x", [2]);
    const [square, triple] = [b.mul(x, x), b.mul(x, b.scalar(3))];
    const seeds = new Map([
      [square, b.input("upstreamOfSquare", [2])],
      [triple, b.input("upstreamOfTriple", [2])],
    ]);
    b.output("d", gradients(b, seeds, [x])[0]!);
    const { d } = evaluateGraph(b.finish(), {
      x: vector(5, -1),
      upstreamOfSquare: vector(1, 10),
      upstreamOfTriple: vector(100, 0),
    });
    expect([...d!.data]).toEqual([2 * 5 + 300, -20]);
  });

  test("differentiates by intermediate values, with all that passes through them", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [1]);
    const middle = b.mul(x, x);
    const value = b.mul(middle, middle);
    const [dMiddle, dx] = gradients(b, new Map([[value, b.scalar(1)]]), [middle, x]);
    b.output("dMiddle", dMiddle!);
    b.output("dx", dx!);
    const outputs = evaluateGraph(b.finish(), { x: vector(3) });
    expect(outputs.dMiddle!.data[0]).toBe(2 * 9);
    expect(outputs.dx!.data[0]).toBe(4 * 27);
  });

  test("refuses an operator without a rule and a target without influence", () => {
    const refused = (build: (b: GraphBuilder, x: Value) => Value): (() => unknown) => {
      const b = new GraphBuilder();
      const x = b.input("x", ["b", "t"]);
      const value = build(b, x);
      return () => gradients(b, new Map([[value, value]]), [x]);
    };
    expect(refused((b, x) => b.abs(x))).toThrow("internal: no derivative of Abs");
    expect(refused((b, x) => floor(b, x))).toThrow("internal: no derivative of Floor");
    expect(refused((b, x) => b.severalOutputs("Loop", [x], [x, x])[1])).toThrow(
      "internal: no derivative of Loop",
    );
    expect(refused((b) => b.exp(b.input("y", ["b"])))).toThrow("internal: x does not influence the result");
  });

  test("does not ask for a rule where no target is concerned", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [2]);
    const value = b.mul(x, b.abs(b.input("y", [2])));
    expect(() => gradients(b, new Map([[value, value]]), [x])).not.toThrow();
  });
});

function vector(...values: readonly number[]): Array64 {
  return { shape: [values.length], data: Float64Array.from(values) };
}

function toFloat32({ shape, data }: Array64): {
  readonly shape: readonly number[];
  readonly data: Float32Array;
} {
  expect(data).toHaveLength(elementCount(shape));
  return { shape, data: Float32Array.from(data) };
}
