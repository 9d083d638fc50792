/** Writes a graph as an ONNX model. The one importer of the ONNX message types. */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  type TensorProto,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import type { Attribute, Constant, Dim, Graph, Node, Value, ValueType } from "./graph.ts";

const OPSET_VERSION = 21n;
/** The first IR version that knows opset 21. */
const IR_VERSION = 10n;
const MICROSOFT_DOMAIN = "com.microsoft";
const MICROSOFT_OPERATORS: ReadonlySet<string> = new Set(["FusedMatMul"]);

const ELEMENT_TYPES: Readonly<Record<ValueType, TensorProto_DataType>> = {
  float32: TensorProto_DataType.FLOAT,
  float64: TensorProto_DataType.DOUBLE,
  int32: TensorProto_DataType.INT32,
  int64: TensorProto_DataType.INT64,
  bool: TensorProto_DataType.BOOL,
};

/** Before the names of outputs, so that a graph may give an output the name of an input. */
export const OUTPUT_PREFIX = "out:";

/** The serialised model; outputs are called by their names in `graph.outputs` after `OUTPUT_PREFIX`. */
export function encodeOnnx(graph: Graph): Uint8Array {
  const outputs = [...graph.outputs];
  const identities = outputs.map(([name, value]) =>
    create(NodeProtoSchema, { opType: "Identity", input: [value.name], output: [OUTPUT_PREFIX + name] }),
  );
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: "gprune",
    opsetImport: [
      create(OperatorSetIdProtoSchema, { domain: "", version: OPSET_VERSION }),
      create(OperatorSetIdProtoSchema, { domain: MICROSOFT_DOMAIN, version: 1n }),
    ],
    graph: create(GraphProtoSchema, {
      name: "gprune",
      node: [...graph.nodes.map(encodeNode), ...identities],
      input: graph.inputs.map((value) => encodeValue(value.name, value)),
      output: outputs.map(([name, value]) => encodeValue(OUTPUT_PREFIX + name, value)),
      initializer: graph.constants.map(encodeConstant),
    }),
  });
  return toBinary(ModelProtoSchema, model);
}

function encodeNode(node: Node): NodeProto {
  return create(NodeProtoSchema, {
    opType: node.op,
    domain: MICROSOFT_OPERATORS.has(node.op) ? MICROSOFT_DOMAIN : "",
    input: node.inputs.map((value) => value.name),
    output: [node.output.name],
    attribute: Object.entries(node.attributes).map(([name, value]) => encodeAttribute(name, value)),
  });
}

function encodeAttribute(name: string, value: Attribute): AttributeProto {
  const Type = AttributeProto_AttributeType;
  if (typeof value === "number") {
    return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(value) });
  }
  if ("float" in value) return create(AttributeProtoSchema, { name, type: Type.FLOAT, f: value.float });
  if ("text" in value) {
    return create(AttributeProtoSchema, { name, type: Type.STRING, s: new TextEncoder().encode(value.text) });
  }
  return create(AttributeProtoSchema, { name, type: Type.INTS, ints: value.map(BigInt) });
}

function encodeValue(name: string, { type, shape }: Value): ValueInfoProto {
  const tensor = create(TypeProto_TensorSchema, {
    elemType: ELEMENT_TYPES[type],
    shape: create(TensorShapeProtoSchema, { dim: shape.map(encodeDim) }),
  });
  const value = { case: "tensorType" as const, value: tensor };
  return create(ValueInfoProtoSchema, { name, type: create(TypeProtoSchema, { value }) });
}

function encodeDim(dim: Dim): ReturnType<typeof create<typeof TensorShapeProto_DimensionSchema>> {
  const value =
    typeof dim === "string"
      ? { case: "dimParam" as const, value: dim }
      : { case: "dimValue" as const, value: BigInt(dim) };
  return create(TensorShapeProto_DimensionSchema, { value });
}

function encodeConstant({ value, data }: Constant): TensorProto {
  const dims = value.shape.map((dim) => BigInt(dim));
  const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  const dataType = ELEMENT_TYPES[value.type];
  return create(TensorProtoSchema, { name: value.name, dims, dataType, rawData: bytes });
}
