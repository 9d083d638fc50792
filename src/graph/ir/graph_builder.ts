/**
 * Builds graphs with one method per operator. Shapes are checked while building, so a wrong graph fails here with names
 * and not inside the runtime. Not an optimiser; ONNX Runtime is one.
 */
import { internalError } from "../../errors.ts";
import { float16Pattern } from "../../tensor/dtype.ts";
import { elementCount } from "../../tensor/tensor.ts";
import type { Constant, Graph, Node, NodeResult, Value, ValueType } from "./graph.ts";
import { broadcast, type Dim, fixedSizes, plus } from "./shapes.ts";

/** The end of an axis, as a bound of slices. */
export const END: number = Number.MAX_SAFE_INTEGER;

export interface GraphBuilderOptions {
  /**
   * Whether `matmul` may emit FusedMatMul, which runtimes other than ONNX Runtime's CPU provider lack; otherwise it
   * emits equivalent standard operators.
   */
  readonly fused?: boolean;
}

/** Transpositions of the last two axes of MatMul operands and a factor on the product. */
export interface MatMulOptions {
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly alpha?: number;
}

/** Builds one graph. A value can be used only with the builder that made it. */
export class GraphBuilder {
  readonly #inputs: Value[] = [];
  readonly #outputs = new Map<string, Value>();
  readonly #nodes: Node[] = [];
  readonly #constants: Constant[] = [];
  readonly #initializers: Value[] = [];
  readonly #fused: boolean;
  /** Nodes so far, with those of bodies. */
  #made = 0;

  constructor({ fused = true }: GraphBuilderOptions = {}) {
    this.#fused = fused;
  }

  /** Nodes so far, in the order they run. */
  get nodes(): readonly Node[] {
    return this.#nodes;
  }

  input(name: string, shape: readonly Dim[], type: ValueType = "float32"): Value {
    const value = { name, type, shape };
    this.#inputs.push(value);
    return value;
  }

  output(name: string, value: Value): void {
    this.#outputs.set(name, value);
  }

  /** A weight whose data is only in the written file; see `Graph.initializers`. */
  initializer(name: string, shape: readonly number[], type: ValueType): Value {
    const value = { name, type, shape };
    this.#initializers.push(value);
    return value;
  }

  /** @param type - float32 or float16 */
  scalar(number: number, type: ValueType = "float32"): Value {
    const data = type === "float16" ? Uint16Array.of(float16Pattern(number)) : Float32Array.of(number);
    return this.constant([], { type, data });
  }

  vector(numbers: Float32Array): Value {
    return this.constant([numbers.length], { type: "float32", data: numbers });
  }

  integer(number: number): Value {
    return this.constant([], { type: "int64", data: BigInt64Array.of(BigInt(number)) });
  }

  integers(list: readonly number[]): Value {
    return this.constant([list.length], { type: "int64", data: BigInt64Array.from(list, BigInt) });
  }

  constant(shape: readonly number[], { type, data }: Pick<Constant, "data"> & Pick<Value, "type">): Value {
    const value: Value = { name: `constant_${this.#constants.length}`, type, shape };
    this.#constants.push({ value, data });
    return value;
  }

  /** An operator without a method of its own; shape and type of its output are not checked. */
  operator(op: string, inputs: readonly Value[], result: NodeResult): Value {
    return this.#node(op, inputs, result);
  }

  /** An operator with several outputs, otherwise as `operator`; attributes are those of the first result. */
  severalOutputs<const R extends readonly NodeResult[]>(
    op: string,
    inputs: readonly Value[],
    results: R,
  ): { -readonly [Index in keyof R]: Value } {
    const name = this.#nameOf(op);
    const [output, ...others] = results.map(({ shape, type = inputs[0]!.type }, index): Value => {
      return { name: index === 0 ? name : `${name}_output${index}`, type, shape };
    });
    this.#nodes.push({ op, inputs, output: output!, others, attributes: results[0]!.attributes ?? {} });
    return [output!, ...others] as { -readonly [Index in keyof R]: Value };
  }

  /**
   * What `build` makes of x in a graph of its own, the body of a loop of one turn: ONNX Runtime plans the memory of
   * such a graph by itself.
   */
  inBody(x: Value, build: (x: Value) => Value): Value {
    const outer = this.#nodes.splice(0);
    const [turn, goesOn] = [this.#bodyInput("int64"), this.#bodyInput("bool")];
    const state = { ...x, name: this.#nameOf("state") };
    const output = build(state);
    const outputs = [this.operator("Identity", [goesOn], goesOn), output];
    const body = { inputs: [turn, goesOn, state], nodes: this.#nodes.splice(0), outputs };
    this.#nodes.push(...outer);
    const one = this.integer(1);
    return this.#node("Loop", [one, this.cast(one, "bool"), x], {
      ...output,
      attributes: { body: { body } },
    });
  }

  #bodyInput(type: ValueType): Value {
    return { name: this.#nameOf("turn"), type, shape: [] };
  }

  #nameOf(op: string): string {
    return `${op}_${this.#made++}`;
  }

  finish(): Graph {
    return {
      inputs: this.#inputs,
      outputs: this.#outputs,
      nodes: this.#nodes,
      constants: this.#constants,
      initializers: this.#initializers,
    };
  }

  add(a: Value, b: Value): Value {
    return this.#elementwise("Add", a, b);
  }

  sub(a: Value, b: Value): Value {
    return this.#elementwise("Sub", a, b);
  }

  mul(a: Value, b: Value): Value {
    return this.#elementwise("Mul", a, b);
  }

  div(a: Value, b: Value): Value {
    return this.#elementwise("Div", a, b);
  }

  /** 1 where a > b, else 0. */
  greater(a: Value, b: Value): Value {
    const shape = broadcast(a.shape, b.shape);
    const mask = this.#node("Greater", [a, b], { shape, type: "bool" });
    return this.cast(mask, "float32");
  }

  /** x converted to another element type; x itself when it has that type. */
  cast(x: Value, type: ValueType): Value {
    if (x.type === type) return x;
    return this.#node("Cast", [x], { shape: x.shape, type, attributes: { to: { type } } });
  }

  neg(x: Value): Value {
    return this.#node("Neg", [x], x);
  }

  abs(x: Value): Value {
    return this.#node("Abs", [x], x);
  }

  exp(x: Value): Value {
    return this.#node("Exp", [x], x);
  }

  sqrt(x: Value): Value {
    return this.#node("Sqrt", [x], x);
  }

  sigmoid(x: Value): Value {
    return this.#node("Sigmoid", [x], x);
  }

  tanh(x: Value): Value {
    return this.#node("Tanh", [x], x);
  }

  /** Softmax over the last axis. */
  softmax(x: Value): Value {
    return this.#node("Softmax", [x], { ...x, attributes: { axis: -1 } });
  }

  /** Logarithm of the softmax over the last axis. */
  logSoftmax(x: Value): Value {
    return this.#node("LogSoftmax", [x], { ...x, attributes: { axis: -1 } });
  }

  /** Matrix product over the last two axes; leading axes are broadcast. */
  matmul(a: Value, b: Value, { transA = false, transB = false, alpha = 1 }: MatMulOptions = {}): Value {
    const [rows, innerA] = lastTwo(a, transA);
    const [innerB, columns] = lastTwo(b, transB);
    if (innerA !== innerB) throw internalError(`matmul of ${describe(a)} and ${describe(b)}`);
    const shape = [...broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)), rows, columns];
    if (!transA && !transB && alpha === 1) return this.#node("MatMul", [a, b], { shape });
    if (!this.#fused) {
      const scaled = alpha === 1 ? a : this.mul(a, this.scalar(alpha, a.type));
      const left = transA ? this.#swapLastAxes(scaled) : scaled;
      const right = transB ? this.#swapLastAxes(b) : b;
      return this.#node("MatMul", [left, right], { shape });
    }
    const attributes = { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } };
    return this.#node("FusedMatMul", [a, b], { shape, attributes });
  }

  transpose(x: Value, permutation: readonly number[]): Value {
    if ([...permutation].sort((a, b) => a - b).join() !== x.shape.map((_, axis) => axis).join()) {
      throw internalError(`transpose of ${describe(x)} by [${permutation.join(", ")}]`);
    }
    const shape = permutation.map((axis) => x.shape[axis]!);
    return this.#node("Transpose", [x], { shape, attributes: { perm: permutation } });
  }

  /**
   * The same elements in another shape. At most one dimension may be neither a number nor the input's dimension at
   * the same position, since ONNX derives at most one.
   */
  reshape(x: Value, shape: readonly Dim[]): Value {
    const target = shape.map((dim, axis) => {
      if (typeof dim === "number") return dim;
      return dim === x.shape[axis] ? 0 : -1;
    });
    if (target.filter((size) => size === -1).length > 1) {
      throw internalError(`reshape of ${describe(x)} to [${shape.join(", ")}] has two unknown sizes`);
    }
    const [before, after] = [fixedSizes(x.shape), fixedSizes(shape)];
    if (before !== undefined && after !== undefined && elementCount(before) !== elementCount(after)) {
      throw internalError(
        `reshape of ${describe(x)} to [${shape.join(", ")}] changes the number of elements`,
      );
    }
    return this.#node("Reshape", [x, this.integers(target)], { shape });
  }

  /** All axes but the last folded into one: [.., C] gives a matrix. */
  flatten(x: Value): Value {
    const axis = x.shape.length - 1;
    const rows = x.shape.slice(0, axis).join("*");
    return this.#node("Flatten", [x], { shape: [rows, x.shape[axis]!], attributes: { axis } });
  }

  /** The inverse of `flatten`: a matrix with as many rows as `like` [.., C] gives [.., N]. */
  unflatten(x: Value, like: Value): Value {
    const rank = like.shape.length - 1;
    const shape = this.concat([this.sizes(like, 0, rank), this.integers([-1])], 0, rank + 1);
    return this.#node("Reshape", [x, shape], { shape: [...like.shape.slice(0, -1), x.shape[1]!] });
  }

  /** Sum over axes, which are kept with size 1. */
  reduceSum(x: Value, axes: readonly number[]): Value {
    return this.#reduce("ReduceSum", x, axes);
  }

  /** Mean over axes, which are kept with size 1. */
  reduceMean(x: Value, axes: readonly number[]): Value {
    return this.#reduce("ReduceMean", x, axes);
  }

  /** Maximum over axes, which are kept with size 1. */
  reduceMax(x: Value, axes: readonly number[]): Value {
    return this.#reduce("ReduceMax", x, axes);
  }

  /** Joins values along an axis into a dimension called `dim`. */
  concat(parts: readonly Value[], axis: number, dim: Dim): Value {
    const others = new Set(parts.map(({ shape }) => shape.toSpliced(axis, 1).join()));
    const total = fixedSizes(parts.map(({ shape }) => shape[axis]!))?.reduce((sum, size) => sum + size, 0);
    if (others.size !== 1 || (total !== undefined && total !== dim)) {
      throw internalError(`concat of ${parts.map(describe).join(", ")} along axis ${axis} to ${dim}`);
    }
    return this.#node("Concat", parts, { shape: parts[0]!.shape.with(axis, dim), attributes: { axis } });
  }

  /** Indices `start` to `end` (exclusive) of an axis of known size. */
  slice(x: Value, axis: number, { start, end }: { readonly start: number; readonly end: number }): Value {
    const size = x.shape[axis];
    if (typeof size !== "number" || !(0 <= start && start < end && end <= size)) {
      throw internalError(`slice of ${describe(x)} along axis ${axis} from ${start} to ${end}`);
    }
    const inputs = [x, ...[[start], [end], [axis]].map((list) => this.integers(list))];
    return this.#node("Slice", inputs, { shape: x.shape.with(axis, end - start) });
  }

  /** x without entries at the ends of an axis, of which `size` are left. */
  trim(
    x: Value,
    axis: number,
    { before, after, size }: { readonly before: number; readonly after: number; readonly size: Dim },
  ): Value {
    if (before === 0 && after === 0) return x;
    const inputs = [x, ...[before, after === 0 ? END : -after, axis].map((bound) => this.integers([bound]))];
    return this.#node("Slice", inputs, { shape: x.shape.with(axis, size) });
  }

  /** x padded with zeros along an axis. */
  pad(
    x: Value,
    axis: number,
    {
      before,
      after,
      size = plus(x.shape[axis]!, before + after),
    }: { readonly before: number; readonly after: number; readonly size?: Dim },
  ): Value {
    const pads = [0, 1].flatMap((side) =>
      x.shape.map((_, index) => (index === axis ? [before, after][side]! : 0)),
    );
    return this.#node("Pad", [x, this.integers(pads)], { shape: x.shape.with(axis, size) });
  }

  /** x repeated along its axes of size 1 to the shape of another value. */
  expandLike(x: Value, like: Value): Value {
    return this.#node("Expand", [x, this.#shapeOf(like)], like);
  }

  /** Zeros in the shape of another value. */
  zerosLike(like: Value): Value {
    return this.#node("ConstantOfShape", [this.#shapeOf(like)], { shape: like.shape, type: "float32" });
  }

  ones(shape: readonly number[]): Value {
    return this.constant(shape, { type: "float32", data: new Float32Array(elementCount(shape)).fill(1) });
  }

  /** Ones [size, 1], where `size` is that of an axis of another value. */
  onesAlong(like: Value, axis: number): Value {
    const shape = this.concat([this.sizes(like, axis, axis + 1), this.integers([1])], 0, 2);
    return this.#node("Expand", [this.scalar(1), shape], { shape: [like.shape[axis]!, 1] });
  }

  /** The sizes of the axes from `start` to `end` (exclusive) at run time, int64. */
  sizes(x: Value, start: number, end: number): Value {
    return this.#node("Shape", [x], { shape: [end - start], type: "int64", attributes: { start, end } });
  }

  /** The numbers of an integer constant of this builder. */
  integersOf(value: Value): readonly number[] {
    const constant = this.#constants.find((candidate) => candidate.value === value);
    if (constant === undefined) throw internalError(`${value.name} is not a constant`);
    return Array.from(constant.data, Number);
  }

  #shapeOf(value: Value): Value {
    return this.#node("Shape", [value], { shape: [value.shape.length], type: "int64" });
  }

  #elementwise(op: string, a: Value, b: Value): Value {
    return this.#node(op, [a, b], { shape: broadcast(a.shape, b.shape) });
  }

  #reduce(op: string, x: Value, axes: readonly number[]): Value {
    const positive = axes.map((axis) => (axis < 0 ? axis + x.shape.length : axis));
    const shape = x.shape.map((dim, axis) => (positive.includes(axis) ? 1 : dim));
    return this.#node(op, [x, this.integers(positive)], { shape, attributes: { keepdims: 1 } });
  }

  #swapLastAxes(x: Value): Value {
    const axes = x.shape.map((_, axis) => axis);
    return this.transpose(x, [...axes.slice(0, -2), ...axes.slice(-2).reverse()]);
  }

  #node(op: string, inputs: readonly Value[], result: NodeResult): Value {
    const { shape, type = inputs[0]!.type, attributes = {} } = result;
    const value: Value = { name: this.#nameOf(op), type, shape };
    this.#nodes.push({ op, inputs, output: value, attributes });
    return value;
  }
}

/** `Add_3 [B, T, 64]`, for messages. */
function describe(value: Value): string {
  return `${value.name} [${value.shape.join(", ")}]`;
}

function lastTwo(value: Value, transposed: boolean): readonly [Dim, Dim] {
  const rows = value.shape.at(-2);
  const columns = value.shape.at(-1);
  if (rows === undefined || columns === undefined) throw internalError(`matmul of ${describe(value)}`);
  return transposed ? [columns, rows] : [rows, columns];
}
