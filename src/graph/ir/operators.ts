/**
 * Rarely used operators: functions of single elements, integer arithmetic, gathers, quantised products. Of these, erf,
 * relu, softplus, clip, `last`, `gatherElements` and those that move rows have a derivative.
 */
import type { Value } from "./graph.ts";
import { END, type GraphBuilder } from "./graph_builder.ts";
import type { Dim } from "./shapes.ts";

/** The largest float32. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

export function erf(b: GraphBuilder, x: Value): Value {
  return b.operator("Erf", [x], x);
}

export function relu(b: GraphBuilder, x: Value): Value {
  return b.operator("Relu", [x], x);
}

/** log(1 + e^x) */
export function softplus(b: GraphBuilder, x: Value): Value {
  return b.operator("Softplus", [x], x);
}

/** x, moved to the nearest value in [-limit, limit]. */
export function clip(b: GraphBuilder, x: Value, limit: number): Value {
  return b.operator("Clip", [x, b.scalar(-limit, x.type), b.scalar(limit, x.type)], x);
}

/** x, or this where it is less. */
export function atLeast(b: GraphBuilder, x: Value, least: number): Value {
  return b.operator("Clip", [x, b.scalar(least, x.type), b.scalar(LARGEST, x.type)], x);
}

/** x, or this where it is more. */
export function atMost(b: GraphBuilder, x: Value, most: number): Value {
  return b.operator("Clip", [x, b.scalar(-LARGEST, x.type), b.scalar(most, x.type)], x);
}

export function cos(b: GraphBuilder, x: Value): Value {
  return b.operator("Cos", [x], x);
}

export function sin(b: GraphBuilder, x: Value): Value {
  return b.operator("Sin", [x], x);
}

export function floor(b: GraphBuilder, x: Value): Value {
  return b.operator("Floor", [x], x);
}

export function log(b: GraphBuilder, x: Value): Value {
  return b.operator("Log", [x], x);
}

/** The last entries of an axis. */
export function last(
  b: GraphBuilder,
  x: Value,
  { axis, count }: Readonly<Record<"axis" | "count", number>>,
): Value {
  const inputs = [x, ...[-count, END, axis].map((bound) => b.integers([bound]))];
  return b.operator("Slice", inputs, { shape: x.shape.with(axis, count) });
}

/** x[i, index[i, j]] of a matrix: [M, V] and int32 [M, A] give [M, A]. */
export function gatherElements(b: GraphBuilder, x: Value, index: Value): Value {
  return b.operator("GatherElements", [x, index], { shape: index.shape, attributes: { axis: 1 } });
}

/** x with updates [M, 1] added at x[i, index[i, 0]]. */
export function scatterAdd(
  b: GraphBuilder,
  x: Value,
  { index, updates }: Readonly<Record<"index" | "updates", Value>>,
): Value {
  const attributes = { axis: 1, reduction: { text: "add" } };
  return b.operator("ScatterElements", [x, index, updates], { ...x, attributes });
}

/** x to the powers of a vector: [1] and [N] give [N]. */
export function powers(b: GraphBuilder, x: Value, exponents: Value): Value {
  return b.operator("Pow", [x, exponents], exponents);
}

/** 1 for the k largest entries along the last axis of x [.., N], the first of equal ones, and 0 for the others. */
export function largestMask(b: GraphBuilder, x: Value, k: number): Value {
  const [values, places] = largest(b, x, k);
  const ones = b.expandLike(b.scalar(1), values);
  const attributes = { axis: x.shape.length - 1 };
  return b.operator("ScatterElements", [b.zerosLike(x), places, ones], { ...x, attributes });
}

/** The k largest entries along the last axis of x [.., N], the first of equal ones first, and their places, int64. */
export function largest(b: GraphBuilder, x: Value, k: number): readonly [Value, Value] {
  const shape = [...x.shape.slice(0, -1), k];
  return b.severalOutputs("TopK", [x, b.integers([k])], [{ shape }, { shape, type: "int64" }]);
}

/** The places of the entries of a vector in ascending order of these, equal ones in their own order, int64. */
export function ascending(b: GraphBuilder, x: Value): Value {
  const { shape } = x;
  const attributes = { largest: 0 };
  const results = [
    { shape, attributes },
    { shape, type: "int64" },
  ] as const;
  return b.severalOutputs("TopK", [x, b.sizes(x, 0, 1)], results)[1];
}

/**
 * x cut into parts along an axis, of which each may have any size, 0 too.
 * @param parts - their sizes, int64 [parts], and what these are called
 */
export function splitInto(
  b: GraphBuilder,
  x: Value,
  { sizes, dims, axis }: { readonly sizes: Value; readonly dims: readonly Dim[]; readonly axis: number },
): readonly Value[] {
  const attributes = { axis };
  const parts = dims.map((dim) => ({ shape: x.shape.with(axis, dim), attributes }));
  return b.severalOutputs("Split", [x, sizes], parts);
}

/** Zeros [M, N] with some rows [R, N] at their places [R], no place twice. @param like - [M, ..] */
export function scatterRows(
  b: GraphBuilder,
  rows: Value,
  { places, like }: { readonly places: Value; readonly like: Value },
): Value {
  const shape = [like.shape[0]!, rows.shape[1]!];
  const sizes = [b.sizes(like, 0, 1), b.sizes(rows, 1, 2)];
  const zeros = b.operator("ConstantOfShape", [b.concat(sizes, 0, 2)], { shape, type: "float32" });
  return b.operator("ScatterND", [zeros, b.reshape(places, [places.shape[0]!, 1]), rows], {
    shape,
    type: rows.type,
  });
}

/** Rows of x by index: [R, ..] and indices [..] give [.., ..]. */
export function gatherRows(b: GraphBuilder, x: Value, indices: Value): Value {
  return b.operator("Gather", [x, indices], { shape: [...indices.shape, ...x.shape.slice(1)] });
}

/**
 * The first or last k entries along the last axis of x, where k is the length of `like`: [.., N] and [k] give [.., k].
 * A slice, since it copies whole rows where a gather copies entry by entry.
 */
export function endOfLast(
  b: GraphBuilder,
  x: Value,
  { like, end }: { like: Value; end: "first" | "last" },
): Value {
  const count = b.operator("Shape", [like], { shape: [1], type: "int64" });
  const bounds = end === "first" ? [b.integers([0]), count] : [b.neg(count), b.integers([END])];
  const shape = [...x.shape.slice(0, -1), ...like.shape];
  return b.operator("Slice", [x, ...bounds, b.integers([x.shape.length - 1])], { shape });
}

/** The size of an axis at run time, an int64 scalar. */
export function sizeOf(b: GraphBuilder, x: Value, axis: number): Value {
  const shape = b.operator("Shape", [x], { shape: [x.shape.length], type: "int64" });
  return b.operator("Gather", [shape, b.integer(axis)], { shape: [] });
}

/** The integers from `start` to `end` (exclusive), two int64 scalars, as a vector [dim]. */
export function range(
  b: GraphBuilder,
  { start, end, dim }: { readonly start: Value; readonly end: Value; readonly dim: Dim },
): Value {
  return b.operator("Range", [start, end, b.integer(1)], { shape: [dim] });
}

/** Operands of linear attention; heads are packed into the last axis. */
export interface LinearAttentionOperands {
  /** [B, T, queryHeads * keyDim] */
  readonly queries: Value;
  readonly keys: Value;
  /** [B, T, valueHeads * valueDim] */
  readonly values: Value;
  /** States, [B, valueHeads, keyDim, valueDim]. */
  readonly past: Value;
  /** Logarithms, [B, T, valueHeads]. */
  readonly decay: Value;
  /** [B, T, valueHeads]; null for values that are added as they are, without the delta rule. */
  readonly strength: Value | null;
  readonly queryHeads: number;
  readonly valueHeads: number;
  /** Factor on queries. */
  readonly scale: number;
}

/**
 * LinearAttention of com.microsoft (ONNX Runtime 1.25.1 and later): the output, like `values`, and the states after
 * it.
 */
export function linearAttentionOperator(
  b: GraphBuilder,
  { queries, keys, values, past, decay, strength, ...rule }: LinearAttentionOperands,
): { readonly output: Value; readonly present: Value } {
  const attributes = {
    update_rule: { text: strength === null ? "gated" : "gated_delta" },
    q_num_heads: rule.queryHeads,
    kv_num_heads: rule.valueHeads,
    scale: { float: rule.scale },
  };
  const operands = [queries, keys, values, past, decay, ...(strength === null ? [] : [strength])];
  const [output, present] = b.severalOutputs("LinearAttention", operands, [
    { shape: values.shape, attributes },
    { shape: past.shape },
  ]);
  return { output, present };
}

/** A matrix [N, I] in blocks along I, as MatMulNBits of com.microsoft reads it; a weight is (code - zero) * scale. */
export interface BlockMatrix {
  readonly bits: 4 | 8;
  readonly blockSize: number;
  /** I. */
  readonly columns: number;
  /** uint8 [N, blocks, blockSize * bits / 8]; the lower half of a byte comes first. */
  readonly codes: Value;
  /** float32 [N, blocks] */
  readonly scales: Value;
  /** uint8 [N, ceil(blocks * bits / 8)], packed like codes; null when all are 2^(bits - 1). */
  readonly zeros: Value | null;
}

/** Accuracy level of int8 activations: 9 to 24 times the speed of float32 ones on a CPU (ONNX Runtime 1.30). */
const INT8_ACTIVATIONS = 4;

/** x [.., I] times the transpose of a block matrix: [.., N]. */
export function blockProduct(b: GraphBuilder, x: Value, matrix: BlockMatrix): Value {
  const { bits, blockSize, columns, codes, scales, zeros } = matrix;
  const rows = codes.shape[0] as number;
  return b.operator("MatMulNBits", [x, codes, scales, ...(zeros === null ? [] : [zeros])], {
    shape: [...x.shape.slice(0, -1), rows],
    attributes: { K: columns, N: rows, bits, block_size: blockSize, accuracy_level: INT8_ACTIVATIONS },
  });
}
