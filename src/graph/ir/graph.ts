/**
 * The graph of every heavy computation: a list of ONNX nodes over named values with symbolic shapes.
 * graph_builder.ts makes it.
 *
 * Operators are ONNX opset 21 with their ONNX names, plus `FusedMatMul` of com.microsoft (a MatMul that reads its
 * operands transposed and scales the product, so weights stay [out, in] as stored).
 */
import type { Dim } from "./shapes.ts";

/** Element type of a value, as ONNX calls it. */
export type ValueType = "float32" | "float64" | "float16" | "int32" | "int64" | "uint8" | "bool";

/** Bytes of one element. */
export const VALUE_BYTES: Readonly<Record<ValueType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  int32: 4,
  int64: 8,
  uint8: 1,
  bool: 1,
};

/** A tensor in a graph. */
export interface Value {
  readonly name: string;
  readonly type: ValueType;
  readonly shape: readonly Dim[];
}

/** A node attribute. Floats are tagged since ONNX distinguishes them from integers, types since it numbers them. */
export type Attribute =
  | number
  | readonly number[]
  | { readonly float: number }
  | { readonly text: string }
  | { readonly type: ValueType }
  | { readonly body: Body };

/** A graph within a node. It also reads values of the graph around it, which has its constants and initializers. */
export interface Body {
  readonly inputs: readonly Value[];
  readonly nodes: readonly Node[];
  readonly outputs: readonly Value[];
}

/** One operation of a graph: an ONNX operator, nearly always with a single output. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly output: Value;
  /** Further outputs of operators that have several. */
  readonly others?: readonly Value[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** All outputs of a node. */
export function outputsOf({ output, others = [] }: Node): readonly Value[] {
  return [output, ...others];
}

/** A constant baked into the graph; float16 as bit patterns. */
export interface Constant {
  readonly value: Value;
  readonly data: Float32Array | Uint16Array | BigInt64Array;
}

/** A finished graph; its nodes are in topological order. */
export interface Graph {
  readonly inputs: readonly Value[];
  readonly outputs: ReadonlyMap<string, Value>;
  readonly nodes: readonly Node[];
  readonly constants: readonly Constant[];
  /** Weights declared without data, which is only in the file that the graph is written to. */
  readonly initializers?: readonly Value[];
}

/** Shape and type of a node's output (that of its first input when absent), and the node's attributes. */
export interface NodeResult {
  readonly shape: readonly Dim[];
  readonly type?: ValueType;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}
