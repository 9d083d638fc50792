/**
 * Evaluates graphs in plain float64 JavaScript, element by element: the naive twin of ONNX Runtime. Every operator is
 * written from its definition in the ONNX documentation and shares no code with the builder.
 */

import type { Attribute, Constant, Graph, Node, Value } from "../src/graph/ir/graph.ts";
import { float16Pattern, float16Value } from "../src/tensor/dtype.ts";
import { erf } from "./numbers.ts";

/** A dense array of any element type, row-major. */
export interface Array64 {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

type Index = readonly number[];
type Attributes = Node["attributes"];
type Operator = (inputs: readonly Array64[], attributes: Attributes) => Array64;

/**
 * Evaluates a graph; values of type float16 are rounded to float16, those of int64 towards 0.
 * @param feeds - inputs and initializers by name
 * @returns outputs by name
 */
export function evaluateGraph(
  graph: Graph,
  feeds: Readonly<Record<string, Array64>>,
): Readonly<Record<string, Array64>> {
  const values = new Map<string, Array64>();
  for (const { name } of [...graph.inputs, ...(graph.initializers ?? [])]) values.set(name, feeds[name]!);
  for (const constant of graph.constants) values.set(constant.value.name, constantArray(constant));
  for (const { op, inputs, output, others = [], attributes } of graph.nodes) {
    const operands = inputs.map(({ name }) => values.get(name)!);
    values.set(output.name, asTyped(output, OPERATORS[op]!(operands, attributes)));
    for (const [index, { name }] of others.entries())
      values.set(name, OTHER_OUTPUTS[op]!(operands, attributes, index));
  }
  return Object.fromEntries([...graph.outputs].map(([name, value]) => [name, values.get(value.name)!]));
}

function constantArray({ value: { shape, type }, data }: Constant): Array64 {
  const number = (x: number | bigint): number => (type === "float16" ? float16Value(Number(x)) : Number(x));
  return { shape: shape.map(Number), data: Float64Array.from(data, number) };
}

function asTyped({ type }: Value, { shape, data }: Array64): Array64 {
  if (type === "int64") return { shape, data: data.map(Math.trunc) };
  if (type !== "float16") return { shape, data };
  return { shape, data: data.map((x) => float16Value(float16Pattern(x))) };
}

const OPERATORS: Readonly<Record<string, Operator>> = {
  Add: pairwise((a, b) => a + b),
  Sub: pairwise((a, b) => a - b),
  Mul: pairwise((a, b) => a * b),
  Div: pairwise((a, b) => a / b),
  Greater: pairwise((a, b) => Number(a > b)),
  Cast: ([x]) => x!,
  Neg: each((x) => -x),
  Abs: each(Math.abs),
  Exp: each(Math.exp),
  Sqrt: each(Math.sqrt),
  Sigmoid: each((x) => 1 / (1 + Math.exp(-x))),
  Tanh: each(Math.tanh),
  Erf: each(erf),
  Relu: each((x) => Math.max(x, 0)),
  Softplus: each((x) => Math.log1p(Math.exp(x))),
  Clip: ([x, low, high]) =>
    each((value) => Math.min(high!.data[0]!, Math.max(low!.data[0]!, value)))([x!], {}),
  Softmax: ([x]) => logSoftmax(x!, Math.exp),
  LogSoftmax: ([x]) => logSoftmax(x!, (log) => log),
  MatMul: matmul,
  FusedMatMul: matmul,
  Transpose: ([x], { perm }) => {
    const permutation = perm as readonly number[];
    return generate(
      permutation.map((axis) => x!.shape[axis]!),
      (index) =>
        at(
          x!,
          x!.shape.map((_, axis) => index[permutation.indexOf(axis)]!),
        ),
    );
  },
  Reshape: ([x, target]) => {
    const copied = [...target!.data].map((size, axis) => (size === 0 ? x!.shape[axis]! : size));
    const known = copied.filter((size) => size !== -1).reduce((product, size) => product * size, 1);
    return { shape: copied.map((size) => (size === -1 ? x!.data.length / known : size)), data: x!.data };
  },
  Flatten: ([x], { axis }) => {
    const columns = x!.shape.slice(axis as number).reduce((product, size) => product * size, 1);
    return { shape: [x!.data.length / columns, columns], data: x!.data };
  },
  ReduceSum: ([x, axes]) => reduce(x!, axes!, (values) => sum(values)),
  ReduceMean: ([x, axes]) => reduce(x!, axes!, (values) => sum(values) / values.length),
  Concat: (parts, { axis }) => {
    const along = axis as number;
    const size = sum(parts.map(({ shape }) => shape[along]!));
    return generate(parts[0]!.shape.with(along, size), (index) => {
      let position = index[along]!;
      let part = 0;
      while (position >= parts[part]!.shape[along]!) position -= parts[part++]!.shape[along]!;
      return at(parts[part]!, index.with(along, position));
    });
  },
  Slice: ([x, start, end, axis]) => {
    const along = axis!.data[0]!;
    const size = x!.shape[along]!;
    const place = (bound: number): number => (bound < 0 ? size + bound : Math.min(bound, size));
    const [from, to] = [place(start!.data[0]!), place(end!.data[0]!)];
    return generate(x!.shape.with(along, to - from), (index) =>
      at(x!, index.with(along, index[along]! + from)),
    );
  },
  Pad: ([x, pads]) => {
    const rank = x!.shape.length;
    const shape = x!.shape.map((size, axis) => size + pads!.data[axis]! + pads!.data[axis + rank]!);
    return generate(shape, (index) => {
      const source = index.map((position, axis) => position - pads!.data[axis]!);
      const inside = source.every((position, axis) => position >= 0 && position < x!.shape[axis]!);
      return inside ? at(x!, source) : 0;
    });
  },
  GatherElements: ([x, places], { axis }) =>
    generate(places!.shape, (index) => at(x!, index.with(axis as number, at(places!, index)))),
  ScatterElements: ([x, places, updates], { axis, reduction }) => {
    const data = Float64Array.from(x!.data);
    for (const index of indices(places!.shape)) {
      const target = offset(x!, index.with(axis as number, at(places!, index)));
      data[target] = at(updates!, index) + (reduction === undefined ? 0 : data[target]!);
    }
    return { shape: x!.shape, data };
  },
  Gather: ([x, places]) =>
    generate([...places!.shape, ...x!.shape.slice(1)], (index) => {
      const rank = places!.shape.length;
      return at(x!, [at(places!, index.slice(0, rank)), ...index.slice(rank)]);
    }),
  ScatterND: ([x, places, updates]) => {
    const data = Float64Array.from(x!.data);
    for (const index of indices(updates!.shape)) {
      const row = at(places!, [index[0]!, 0]);
      data[offset(x!, [row, ...index.slice(1)])] = at(updates!, index);
    }
    return { shape: x!.shape, data };
  },
  TopK: ([x, k], attributes) => extremes(x!, k!.data[0]!, { attributes, of: ([value]) => value }),
  Split: (operands, attributes) => partOf(operands, attributes, 0),
  Shape: ([x], { start = 0, end }) => {
    const sizes = x!.shape.slice(start as number, end as number | undefined);
    return { shape: [sizes.length], data: Float64Array.from(sizes) };
  },
  Expand: ([x, shape]) => generate([...shape!.data], (index) => at(x!, index)),
  ConstantOfShape: ([shape]) => generate([...shape!.data], () => 0),
};

/** The second output of operators that have several, and those after it. */
const OTHER_OUTPUTS: Readonly<
  Record<string, (inputs: readonly Array64[], attributes: Attributes, index: number) => Array64>
> = {
  TopK: ([x, k], attributes) => extremes(x!, k!.data[0]!, { attributes, of: ([, place]) => place }),
  Split: (operands, attributes, index) => partOf(operands, attributes, index + 1),
};

/**
 * What `of` gives of the k largest entries along the last axis, or the smallest, with their places; the first of equal
 * ones.
 */
function extremes(
  x: Array64,
  k: number,
  {
    attributes: { largest = 1 },
    of,
  }: { readonly attributes: Attributes; readonly of: (entry: readonly [number, number]) => number },
): Array64 {
  const sign = largest === 1 ? 1 : -1;
  return generate([...x.shape.slice(0, -1), k], (index) => {
    const before = index.slice(0, -1);
    const entries = Array.from({ length: x.shape.at(-1)! }, (_, i) => [at(x, [...before, i]), i] as const);
    return of(entries.sort(([a, i], [b, j]) => sign * (b - a) || i - j)[index.at(-1)!]!);
  });
}

/** One of the parts of an array along an axis. */
function partOf([x, sizes]: readonly Array64[], { axis }: Attributes, part: number): Array64 {
  const along = axis as number;
  const start = sum([...sizes!.data.subarray(0, part)]);
  return generate(x!.shape.with(along, sizes!.data[part]!), (index) =>
    at(x!, index.with(along, index[along]! + start)),
  );
}

function each(map: (x: number) => number): Operator {
  return ([x]) => ({ shape: x!.shape, data: x!.data.map(map) });
}

function pairwise(combine: (a: number, b: number) => number): Operator {
  return ([a, b]) =>
    generate(broadcast(a!.shape, b!.shape), (index) => combine(at(a!, index), at(b!, index)));
}

function matmul([a, b]: readonly Array64[], { transA, transB, alpha }: Attributes): Array64 {
  const left = transA === 1 ? swapLast(a!) : a!;
  const right = transB === 1 ? swapLast(b!) : b!;
  const inner = left.shape.at(-1)!;
  const batch = broadcast(left.shape.slice(0, -2), right.shape.slice(0, -2));
  return generate([...batch, left.shape.at(-2)!, right.shape.at(-1)!], (index) => {
    const [row, column] = index.slice(-2) as [number, number];
    const lead = index.slice(0, -2);
    let product = 0;
    for (let k = 0; k < inner; k++) product += at(left, [...lead, row, k]) * at(right, [...lead, k, column]);
    return product * floatOf(alpha);
  });
}

function floatOf(attribute: Attribute | undefined): number {
  return typeof attribute === "object" && "float" in attribute ? attribute.float : 1;
}

function swapLast(x: Array64): Array64 {
  const lead = x.shape.slice(0, -2);
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  return generate([...lead, columns, rows], (index) =>
    at(x, [...index.slice(0, -2), index.at(-1)!, index.at(-2)!]),
  );
}

function logSoftmax(x: Array64, finish: (log: number) => number): Array64 {
  const width = x.shape.at(-1)!;
  const data = x.data.map((value, i) => {
    const row = x.data.subarray(i - (i % width), i - (i % width) + width);
    return finish(value - Math.log(sum(row.map(Math.exp))));
  });
  return { shape: x.shape, data };
}

function reduce(x: Array64, axes: Array64, combine: (values: readonly number[]) => number): Array64 {
  const reduced = new Set(axes.data);
  const shape = x.shape.map((size, axis) => (reduced.has(axis) ? 1 : size));
  return generate(shape, (index) => {
    const members = [...indices(x.shape)].filter((member) =>
      member.every((position, axis) => reduced.has(axis) || position === index[axis]),
    );
    return combine(members.map((member) => at(x, member)));
  });
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) =>
    Math.max(a[axis - rank + a.length] ?? 1, b[axis - rank + b.length] ?? 1),
  );
}

/** The array with element `value(index)` at each index. */
function generate(shape: readonly number[], value: (index: Index) => number): Array64 {
  return { shape, data: Float64Array.from(indices(shape), value) };
}

/** All indices of a shape, the last axis fastest. */
function* indices(shape: readonly number[]): Generator<Index> {
  const count = shape.reduce((product, size) => product * size, 1);
  for (let i = 0; i < count; i++) {
    let rest = i;
    const index = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    yield index;
  }
}

/** The element at an index of a shape that the array broadcasts to. */
function at(x: Array64, index: Index): number {
  return x.data[offset(x, index)]!;
}

function offset({ shape }: Array64, index: Index): number {
  const extra = index.length - shape.length;
  return shape.reduce((place, size, axis) => place * size + (size === 1 ? 0 : index[axis + extra]!), 0);
}
