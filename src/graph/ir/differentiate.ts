/**
 * Reverse-mode differentiation: appends to a graph the nodes that compute vector-Jacobian products of its values. One
 * rule per operator; nodes are visited in reverse order, and the gradients of a value are added up.
 *
 * Based on the usual definition (Griewank & Walther, Evaluating Derivatives, ch. 3), as in Autodidax.
 */
import { getOrMake } from "../../base/map_values.ts";
import { internalError } from "../../errors.ts";
import { type Node, outputsOf, type Value } from "./graph.ts";
import { END, type GraphBuilder } from "./graph_builder.ts";
import { ascending, gatherRows, scatterAdd, scatterRows, splitInto } from "./operators.ts";
import { productOptions } from "./product_sizes.ts";
import type { Dim } from "./shapes.ts";

/** Vector-Jacobian product of one node: builders of the gradients of its leading inputs; the others have none. */
type Rule = (b: GraphBuilder, node: Node, upstream: Value) => readonly (() => Value)[];

const RULES: Readonly<Record<string, Rule>> = {
  Add: (_b, _node, g) => [() => g, () => g],
  Sub: (b, _node, g) => [() => g, () => b.neg(g)],
  Mul: (b, { inputs: [x, y] }, g) => [() => b.mul(g, y!), () => b.mul(g, x!)],
  Div: (b, { inputs: [, y], output }, g) => [() => b.div(g, y!), () => b.neg(b.mul(b.div(g, y!), output))],
  Neg: (b, _node, g) => [() => b.neg(g)],
  Exp: (b, { output }, g) => [() => b.mul(g, output)],
  Sqrt: (b, { output }, g) => [() => b.div(b.mul(g, b.scalar(0.5)), output)],
  Sigmoid: (b, { output }, g) => [() => b.mul(g, b.mul(output, b.sub(b.scalar(1), output)))],
  Tanh: (b, { output }, g) => [() => b.mul(g, b.sub(b.scalar(1), b.mul(output, output)))],
  Erf: (b, { inputs: [x] }, g) => [
    () => b.mul(g, b.mul(b.exp(b.neg(b.mul(x!, x!))), b.scalar(2 / Math.sqrt(Math.PI)))),
  ],
  Relu: (b, { output }, g) => [() => b.mul(g, b.greater(output, b.scalar(0)))],
  Softplus: (b, { inputs: [x] }, g) => [() => b.mul(g, b.sigmoid(x!))],
  Clip: (b, { inputs: [x, low, high] }, g) => [
    () => b.mul(g, b.sub(b.scalar(1), b.add(b.greater(low!, x!), b.greater(x!, high!)))),
  ],
  Softmax: (b, { output }, g) => [
    () => {
      const weighted = b.mul(g, output);
      return b.sub(weighted, b.mul(output, b.reduceSum(weighted, [-1])));
    },
  ],
  LogSoftmax: (b, { output }, g) => [() => b.sub(g, b.mul(b.exp(output), b.reduceSum(g, [-1])))],
  MatMul: matmulRule,
  FusedMatMul: matmulRule,
  Transpose: (b, { attributes }, g) => [
    () => b.transpose(g, inversePermutation(attributes.perm as readonly number[])),
  ],
  Reshape: (b, { inputs: [x], output }, g) => [
    () => (isUnflattened(x!, output) ? b.flatten(g) : b.reshape(g, x!.shape)),
  ],
  Flatten: (b, { inputs: [x] }, g) => [() => b.unflatten(g, x!)],
  ReduceSum: (b, { inputs: [x] }, g) => [() => b.expandLike(g, x!)],
  ReduceMean: (b, { inputs: [x], output }, g) => [
    () => b.expandLike(shareOfMean(b, { x: x!, output, g }), x!),
  ],
  Pad: (b, { inputs: [x, pads] }, g) => [() => unpadded(b, { x: x!, pads: b.integersOf(pads!), g })],
  Concat: concatRule,
  Gather: (b, node, g) => [() => gatheredGradient(b, node, g)],
  ScatterND: (b, { inputs: [, places] }, g) => [
    noGradient,
    noGradient,
    () => gatherRows(b, g, b.reshape(places!, [places!.shape[0]!])),
  ],
  GatherElements: (b, { inputs: [x, index] }, g) => [
    () => scatterAdd(b, b.zerosLike(x!), { index: index!, updates: g }),
  ],
};

/**
 * Operators with steps: what they compute has the derivative 0 wherever it has one. Of TopK, only the places are used.
 */
const STEPS: ReadonlySet<string> = new Set(["Greater", "Shape", "TopK"]);

/** ONNX names of the operators that have a derivative; those of slices and of parts are in `gradients`. */
export const DIFFERENTIABLE_OPERATORS: readonly string[] = [...Object.keys(RULES), "Slice", "Split"];

/**
 * Appends the gradients of sum(value * upstream) over all `seeds` to the graph.
 *
 * @param seeds - upstream gradient by value, same shapes
 * @param targets - inputs or intermediate values
 * @returns one gradient per target, in its shape
 * @throws GpruneError INTERNAL when a target does not influence any seed or an operator has no rule
 */
export function gradients(
  b: GraphBuilder,
  seeds: ReadonlyMap<Value, Value>,
  targets: readonly Value[],
): readonly Value[] {
  const nodes = [...b.nodes];
  const active = dependents(nodes, targets);
  const found = new Gradients(b, seeds);
  for (const node of nodes.reverse()) {
    if (!active.has(node.output) || !node.inputs.some((input) => active.has(input))) continue;
    const upstreams = outputsOf(node).flatMap((output) => found.of(output) ?? []);
    const [upstream] = upstreams;
    if (upstream === undefined) continue;
    if (node.op === "Split") {
      found.add(node.inputs[0]!, joinedParts(b, node, upstreams));
      continue;
    }
    if (node.op === "Slice") {
      found.addPart(node, upstream);
      continue;
    }
    const rule = RULES[node.op];
    if (rule === undefined) throw internalError(`no derivative of ${node.op}`);
    for (const [index, buildGradient] of rule(b, node, upstream).entries()) {
      const input = node.inputs[index]!;
      if (active.has(input)) found.add(input, sumToShape(b, buildGradient(), input.shape));
    }
  }
  return targets.map((target) => {
    const gradient = found.of(target);
    if (gradient === undefined) throw internalError(`${target.name} does not influence the result`);
    return gradient;
  });
}

/** The gradient of a part of a value, along one axis. */
interface Part {
  readonly axis: number;
  /** Entries before and after the part. */
  readonly before: number;
  readonly after: number;
  readonly gradient: Value;
}

/** Gradients of values, to which those of later uses are added. */
class Gradients {
  readonly #b: GraphBuilder;
  readonly #sums: Map<Value, Value>;
  /** Of slices, which join to whole gradients where they are next to one another: padding each costs the whole. */
  readonly #parts = new Map<Value, Part[]>();

  constructor(b: GraphBuilder, seeds: ReadonlyMap<Value, Value>) {
    this.#b = b;
    this.#sums = new Map(seeds);
  }

  /** The sum so far; undefined without any. */
  of(value: Value): Value | undefined {
    for (const part of joined(this.#b, value, this.#parts.get(value) ?? [])) {
      const { axis, before, after, gradient } = part;
      const size = value.shape[axis]!;
      const isWhole = before === 0 && after === 0;
      this.add(value, isWhole ? gradient : this.#b.pad(gradient, axis, { before, after, size }));
    }
    this.#parts.delete(value);
    return this.#sums.get(value);
  }

  add(value: Value, gradient: Value): void {
    const previous = this.#sums.get(value);
    this.#sums.set(value, previous === undefined ? gradient : this.#b.add(previous, gradient));
  }

  /** Adds the gradient of a slice to that of what it was taken from. */
  addPart({ inputs: [x, ...bounds], output }: Node, gradient: Value): void {
    const [before, end, axis] = bounds.map((bound) => this.#b.integersOf(bound)[0]!) as [
      number,
      number,
      number,
    ];
    if (before < 0) throw internalError(`derivative of ${output.name}, which counts from the end`);
    const after = end < 0 ? -end : end === END ? 0 : staticSize(x!, axis) - end;
    getOrMake(this.#parts, x!, () => []).push({ axis, before, after, gradient });
  }
}

/** Parts of a value with those that follow one another joined, where its size along their axis is known. */
function joined(b: GraphBuilder, value: Value, parts: readonly Part[]): readonly Part[] {
  const runs: Part[][] = [];
  for (const part of [...parts].sort((p, q) => p.axis - q.axis || p.before - q.before)) {
    const size = value.shape[part.axis];
    const run = runs.find(([first, ...others]) => {
      const last = others.at(-1) ?? first!;
      return last.axis === part.axis && typeof size === "number" && size - last.after === part.before;
    });
    if (run === undefined) runs.push([part]);
    else run.push(part);
  }
  return runs.map((run) => {
    const [first, last] = [run[0]!, run.at(-1)!];
    if (first === last) return first;
    const { axis, before } = first;
    const size = staticSize(value, axis) - before - last.after;
    const gradients = run.map(({ gradient }) => gradient);
    return { axis, before, after: last.after, gradient: b.concat(gradients, axis, size) };
  });
}

/** The targets and everything computed from them, but through steps alone. */
function dependents(nodes: readonly Node[], targets: readonly Value[]): ReadonlySet<Value> {
  const active = new Set(targets);
  for (const node of nodes) {
    if (STEPS.has(node.op) || !node.inputs.some((input) => active.has(input))) continue;
    for (const output of outputsOf(node)) active.add(output);
  }
  return active;
}

/** Whether the rows of a matrix [M, N] were spread over several axes [.., N]. */
function isUnflattened({ shape: before }: Value, { shape: after }: Value): boolean {
  return before.length === 2 && after.length > 2 && before[0] === after.slice(0, -1).join("*");
}

/** Of inputs that are constants wherever the operator is used. */
function noGradient(): never {
  throw internalError("a gradient of indices, or of what rows are scattered into");
}

/** The gradient of what was cut into parts, of which each must have one. */
function joinedParts(b: GraphBuilder, node: Node, parts: readonly Value[]): Value {
  if (parts.length !== outputsOf(node).length) throw internalError("a gradient of some parts alone");
  const axis = node.attributes.axis as number;
  return b.concat(parts, axis, node.inputs[0]!.shape[axis]!);
}

/** Parts of known sizes are slices; where sizes are known only when the graph runs, all are cut at once. */
function concatRule(b: GraphBuilder, { inputs, attributes }: Node, g: Value): readonly (() => Value)[] {
  const axis = attributes.axis as number;
  if (inputs.some(({ shape }) => typeof shape[axis] !== "number")) {
    const each = inputs.map((input) => b.sizes(input, axis, axis + 1));
    const dims = inputs.map(({ shape }) => shape[axis]!);
    const parts = splitInto(b, g, { sizes: b.concat(each, 0, inputs.length), dims, axis });
    return parts.map((part) => () => part);
  }
  return inputs.map((input, index) => () => {
    const sizes = inputs.slice(0, index).map((part) => staticSize(part, axis));
    const start = sizes.reduce((sum, size) => sum + size, 0);
    return b.slice(g, axis, { start, end: start + staticSize(input, axis) });
  });
}

/**
 * The gradient of rows by index, of which none is there twice; or, where the result has k times as many rows [k * M, N]
 * as there are, each k times.
 */
function gatheredGradient(b: GraphBuilder, { inputs, output }: Node, g: Value): Value {
  const [x, places] = inputs as readonly [Value, Value];
  const [rows, width] = x.shape as readonly [Dim, Dim];
  const times = timesIn(output.shape[0]!, rows);
  if (times === null || output.shape.length !== 2) return scatterRows(b, g, { places, like: x });
  const sorted = gatherRows(b, g, ascending(b, places));
  if (times === 1) return sorted;
  // A product with ones, since a sum along an axis in the middle would depend on the number of threads.
  const sums = b.matmul(b.ones([1, times]), b.reshape(sorted, [rows, times, width]));
  return b.reshape(sums, [rows, width]);
}

/** How many times a size is in another, `B*T*4` or `B*T` and `B*T`; null where that is not known. */
function timesIn(dim: Dim, of: Dim): number | null {
  if (dim === of) return 1;
  const [whole, times] = /^(.+)[*](\d+)$/.exec(String(dim))?.slice(1) ?? [];
  return whole === of ? Number(times) : null;
}

/** y = alpha * op(A) op(B), where op is the identity or a transposition. */
function matmulRule(b: GraphBuilder, node: Node, g: Value): readonly (() => Value)[] {
  const [left, right] = node.inputs as readonly [Value, Value];
  const { transA, transB, alpha } = productOptions(node);
  const dLeft = (): Value =>
    transA
      ? b.matmul(right, g, { transA: transB, transB: true, alpha })
      : b.matmul(g, right, { transB: !transB, alpha });
  const dRight = (): Value => {
    // A matrix shared by all sequences: folding the leading axes makes its gradient a single product.
    const folded = right.shape.length === 2 && left.shape.length > 2 && !transA;
    const x = folded ? b.flatten(left) : left;
    const y = folded ? b.flatten(g) : g;
    return transB
      ? b.matmul(y, x, { transA: true, transB: transA, alpha })
      : b.matmul(x, y, { transA: !transA, alpha });
  };
  return [dLeft, dRight];
}

/** Undoes broadcasting: sums a gradient over the axes along which the input was repeated. */
function sumToShape(b: GraphBuilder, gradient: Value, shape: readonly Dim[]): Value {
  const extra = gradient.shape.length - shape.length;
  const axes = gradient.shape.flatMap((dim, axis) => {
    const repeated = axis < extra || (shape[axis - extra] === 1 && dim !== 1);
    return repeated ? [axis] : [];
  });
  if (axes.length === 0) return gradient;
  const summed = b.reduceSum(gradient, axes);
  return extra === 0 ? summed : b.reshape(summed, shape);
}

/** g divided by the number of elements of x that each mean was taken over. */
function shareOfMean(
  b: GraphBuilder,
  { x, output, g }: { readonly x: Value; readonly output: Value; readonly g: Value },
): Value {
  const averaged = x.shape.flatMap((dim, axis) => (output.shape[axis] === dim ? [] : [{ dim, axis }]));
  const fixed = averaged.reduce((product, { dim }) => (typeof dim === "number" ? product * dim : product), 1);
  return averaged
    .filter(({ dim }) => typeof dim !== "number")
    .reduce(
      (share, { axis }) => b.div(share, b.reduceSum(b.onesAlong(x, axis), [0, 1])),
      b.mul(g, b.scalar(1 / fixed)),
    );
}

/** The part of a gradient that belongs to what was padded, along one axis. */
function unpadded(
  b: GraphBuilder,
  { x, pads, g }: { readonly x: Value; readonly pads: readonly number[]; readonly g: Value },
): Value {
  const rank = x.shape.length;
  const axis = pads.findIndex((count) => count !== 0) % rank;
  if (axis < 0) return g;
  return b.trim(g, axis, { before: pads[axis]!, after: pads[axis + rank]!, size: x.shape[axis]! });
}

function staticSize(value: Value, axis: number): number {
  const size = value.shape[axis];
  if (typeof size !== "number") throw internalError(`axis ${axis} of ${value.name} has no fixed size`);
  return size;
}

function inversePermutation(permutation: readonly number[]): readonly number[] {
  return permutation.map((_, axis) => permutation.indexOf(axis));
}
