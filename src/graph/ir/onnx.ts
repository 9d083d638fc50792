/**
 * Encodes a graph as an ONNX model: in one piece for the runtime, or in pieces between which the writer of a file puts
 * the weights. The only importer of the ONNX message types.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import {
  type Attribute,
  type Body,
  type Constant,
  type Graph,
  type Node,
  outputsOf,
  VALUE_BYTES,
  type Value,
  type ValueType,
} from "./graph.ts";
import type { Dim } from "./shapes.ts";

const OPSET_VERSION = 21n;
/** The first IR version that knows opset 21. */
const IR_VERSION = 10n;
const MICROSOFT_DOMAIN = "com.microsoft";
const MICROSOFT_OPERATORS: ReadonlySet<string> = new Set(["FusedMatMul", "LinearAttention", "MatMulNBits"]);

const ELEMENT_TYPES: Readonly<Record<ValueType, TensorProto_DataType>> = {
  float32: TensorProto_DataType.FLOAT,
  float64: TensorProto_DataType.DOUBLE,
  float16: TensorProto_DataType.FLOAT16,
  int32: TensorProto_DataType.INT32,
  int64: TensorProto_DataType.INT64,
  uint8: TensorProto_DataType.UINT8,
  bool: TensorProto_DataType.BOOL,
};

/** Prefix of the names of outputs, so that a graph may give an output the name of an input. */
export const OUTPUT_PREFIX = "out:";

/** Numbers of the fields whose tags and lengths are written by hand (onnx.proto). */
const FIELDS = { modelGraph: 7, graphInitializer: 5, tensorRawData: 9 } as const;
/** Wire type of a field with a length before its bytes (protobuf encoding). */
const LENGTH_DELIMITED = 2;

/** The serialised model; the names of outputs are those in `graph.outputs` after `OUTPUT_PREFIX`. */
export function encodeOnnx(graph: Graph): Uint8Array {
  const model = encodeModel();
  model.graph = encodeGraph(graph, OUTPUT_PREFIX);
  return toBinary(ModelProtoSchema, model);
}

/**
 * The serialised model with the weights of its initializers inside, named as by `encodeOnnx`.
 * @param bytesOf - reads the data of an initializer; called in order, one at a time
 */
export async function encodeFilledOnnx(
  graph: Graph,
  bytesOf: (initializer: Value) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const pieces = onnxPieces(graph, { outputPrefix: OUTPUT_PREFIX });
  const encoded = new Uint8Array(pieces.reduce((sum, piece) => sum + pieceBytes(piece), 0));
  let offset = 0;
  for (const piece of pieces) {
    encoded.set(piece instanceof Uint8Array ? piece : await bytesOf(piece), offset);
    offset += pieceBytes(piece);
  }
  return encoded;
}

/** Position of an initializer in a file beside the model. */
export interface ExternalPlace {
  readonly file: string;
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
}

export interface PieceOptions {
  /** Positions of the initializers that are in other files, by name. */
  readonly places?: ReadonlyMap<string, ExternalPlace>;
  /** Prefix of the names in `graph.outputs`; empty when absent. */
  readonly outputPrefix?: string;
}

/**
 * The serialised model in pieces to be written in order: bytes, and initializers, each of which stands for the
 * `byteLength` bytes of its data.
 */
export function onnxPieces(
  graph: Graph,
  { places = new Map(), outputPrefix = "" }: PieceOptions = {},
): readonly (Uint8Array | Value)[] {
  const head = toBinary(GraphProtoSchema, encodeGraph(graph, outputPrefix));
  const { initializers = [] } = graph;
  const tensors = initializers.map((value) => initializerPieces(value, places.get(value.name)));
  const graphBytes = tensors.flat().reduce((sum, piece) => sum + pieceBytes(piece), head.length);
  return [
    toBinary(ModelProtoSchema, encodeModel()),
    fieldStart(FIELDS.modelGraph, graphBytes),
    head,
    ...tensors.flat(),
  ];
}

/** Bytes of a value of fixed shape. */
export function byteLength({ type, shape }: Value): number {
  return shape.reduce<number>((product, dim) => product * Number(dim), VALUE_BYTES[type]);
}

function pieceBytes(piece: Uint8Array | Value): number {
  return piece instanceof Uint8Array ? piece.length : byteLength(piece);
}

/** One TensorProto as a field of GraphProto. */
function initializerPieces(value: Value, place: ExternalPlace | undefined): readonly (Uint8Array | Value)[] {
  const dims = value.shape.map((dim) => BigInt(dim));
  const tensor = create(TensorProtoSchema, { name: value.name, dims, dataType: ELEMENT_TYPES[value.type] });
  if (place !== undefined) {
    const entries = { location: place.file, offset: String(place.offset), length: String(place.length) };
    tensor.dataLocation = TensorProto_DataLocation.EXTERNAL;
    tensor.externalData = Object.entries(entries).map(([key, text]) =>
      create(StringStringEntryProtoSchema, { key, value: text }),
    );
  }
  const head = toBinary(TensorProtoSchema, tensor);
  if (place !== undefined) return [fieldStart(FIELDS.graphInitializer, head.length), head];
  const data = fieldStart(FIELDS.tensorRawData, byteLength(value));
  const length = head.length + data.length + byteLength(value);
  return [fieldStart(FIELDS.graphInitializer, length), head, data, value];
}

/** Tag and length of a field; both are varints, seven bits a byte, lowest first. */
function fieldStart(field: number, length: number): Uint8Array {
  const bytes: number[] = [];
  for (let varint of [field * 8 + LENGTH_DELIMITED, length]) {
    for (; varint >= 128; varint = Math.floor(varint / 128)) bytes.push((varint % 128) + 128);
    bytes.push(varint);
  }
  return Uint8Array.from(bytes);
}

/** A model without its graph. */
function encodeModel(): ModelProto {
  return create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: "gprune",
    opsetImport: [
      create(OperatorSetIdProtoSchema, { domain: "", version: OPSET_VERSION }),
      create(OperatorSetIdProtoSchema, { domain: MICROSOFT_DOMAIN, version: 1n }),
    ],
  });
}

/** A graph with its constants, but without the initializers that it has no data of. */
function encodeGraph(graph: Graph, outputPrefix: string): GraphProto {
  const outputs = [...graph.outputs];
  const identities = outputs.map(([name, value]) =>
    create(NodeProtoSchema, { opType: "Identity", input: [value.name], output: [outputPrefix + name] }),
  );
  return create(GraphProtoSchema, {
    name: "gprune",
    node: [...graph.nodes.map(encodeNode), ...identities],
    input: graph.inputs.map((value) => encodeValue(value.name, value)),
    output: outputs.map(([name, value]) => encodeValue(outputPrefix + name, value)),
    initializer: graph.constants.map(encodeConstant),
  });
}

function encodeNode(node: Node): NodeProto {
  return create(NodeProtoSchema, {
    opType: node.op,
    domain: MICROSOFT_OPERATORS.has(node.op) ? MICROSOFT_DOMAIN : "",
    input: node.inputs.map((value) => value.name),
    output: outputsOf(node).map(({ name }) => name),
    attribute: Object.entries(node.attributes).map(([name, value]) => encodeAttribute(name, value)),
  });
}

function encodeAttribute(name: string, value: Attribute): AttributeProto {
  const Type = AttributeProto_AttributeType;
  if (typeof value === "number") {
    return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(value) });
  }
  if ("type" in value) {
    return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(ELEMENT_TYPES[value.type]) });
  }
  if ("float" in value) return create(AttributeProtoSchema, { name, type: Type.FLOAT, f: value.float });
  if ("body" in value)
    return create(AttributeProtoSchema, { name, type: Type.GRAPH, g: encodeBody(value.body) });
  if ("text" in value) {
    return create(AttributeProtoSchema, { name, type: Type.STRING, s: new TextEncoder().encode(value.text) });
  }
  return create(AttributeProtoSchema, { name, type: Type.INTS, ints: value.map(BigInt) });
}

function encodeBody({ inputs, nodes, outputs }: Body): GraphProto {
  return create(GraphProtoSchema, {
    name: "body",
    node: nodes.map(encodeNode),
    input: inputs.map((value) => encodeValue(value.name, value)),
    output: outputs.map((value) => encodeValue(value.name, value)),
  });
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
