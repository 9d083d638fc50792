/**
 * Writes small GGUF files for tests, well-formed or with any part replaced by something hostile. Deliberately simple:
 * it shares no code with the reader or the exporter.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** enum gguf_type of gguf.h. */
const VALUE_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;
type ValueType = keyof typeof VALUE_TYPES;

/** A typed metadata value; an array holds values of one type. */
export type BuiltValue =
  | { readonly type: Exclude<ValueType, "array">; readonly value: string | number | bigint | boolean }
  | { readonly type: "array"; readonly of: Exclude<ValueType, "array">; readonly value: readonly unknown[] };

/** A tensor of a file to build. */
export interface BuiltTensor {
  readonly name: string;
  /** Innermost axis first, as in the file. */
  readonly dimensions: readonly (number | bigint)[];
  /** enum ggml_type. */
  readonly type: number;
  readonly data: Uint8Array;
  /** Offset of the data in the header; the right one when absent. */
  readonly offset?: bigint;
}

/** Parts of a file to build; absent counts and versions are the right ones. */
export interface GgufParts {
  readonly magic?: string;
  readonly version?: number;
  readonly tensorCount?: bigint;
  readonly entryCount?: bigint;
  readonly metadata?: readonly (readonly [string, BuiltValue])[] | undefined;
  /** Bytes in place of the metadata. */
  readonly rawMetadata?: Uint8Array;
  readonly tensors?: readonly BuiltTensor[];
  /** Alignment of the data as written, whatever the metadata says. */
  readonly alignment?: number;
}

export const text = (value: string): BuiltValue => ({ type: "string", value });
export const u32 = (value: number): BuiltValue => ({ type: "u32", value });
export const f32 = (value: number): BuiltValue => ({ type: "f32", value });
export const bool = (value: boolean): BuiltValue => ({ type: "bool", value });
export const texts = (value: readonly string[]): BuiltValue => ({ type: "array", of: "string", value });
export const bools = (value: readonly boolean[]): BuiltValue => ({ type: "array", of: "bool", value });
export const i32s = (value: readonly number[]): BuiltValue => ({ type: "array", of: "i32", value });
export const f32s = (value: readonly number[]): BuiltValue => ({ type: "array", of: "f32", value });

/** A float32 tensor; `shape` outermost axis first. */
export function floatTensor(name: string, shape: readonly number[], values: Float32Array): BuiltTensor {
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dimensions: shape.toReversed(), type: 0, data };
}

/** The bytes of a file. */
export function buildGguf(parts: GgufParts): Uint8Array {
  const { metadata = [], tensors = [], alignment = 32 } = parts;
  const chunks: Uint8Array[] = [
    Buffer.from(parts.magic ?? "GGUF"),
    number("u32", parts.version ?? 3),
    number("u64", parts.tensorCount ?? tensors.length),
    number("u64", parts.entryCount ?? metadata.length),
    parts.rawMetadata ?? Buffer.concat(metadata.map(([key, value]) => entry(key, value))),
  ];
  let offset = 0;
  for (const { name, dimensions, type, data, offset: declared } of tensors) {
    chunks.push(string(name), number("u32", dimensions.length));
    chunks.push(...dimensions.map((dimension) => number("u64", BigInt.asUintN(64, BigInt(dimension)))));
    chunks.push(number("u32", type), number("u64", declared ?? offset));
    offset += padded(data, alignment).length;
  }
  const header = padded(Buffer.concat(chunks), alignment);
  return Buffer.concat([header, ...tensors.map(({ data }) => padded(data, alignment))]);
}

/** Writes bytes to a temporary file, which is removed after `use`. */
export async function withFile<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "gprune-gguf-"));
  try {
    const path = join(directory, "model.gguf");
    writeFileSync(path, bytes);
    return await use(path);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** One metadata entry. */
export function entry(key: string, value: BuiltValue): Uint8Array {
  const type = number("u32", VALUE_TYPES[value.type]);
  if (value.type !== "array") return Buffer.concat([string(key), type, scalar(value.type, value.value)]);
  const items = value.value.map((item) => scalar(value.of, item));
  const head = [number("u32", VALUE_TYPES[value.of]), number("u64", items.length)];
  return Buffer.concat([string(key), type, ...head, ...items]);
}

/** A string with its length; `length` replaces the right one. */
export function string(value: string, length?: bigint): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([number("u64", length ?? bytes.length), bytes]);
}

const WRITERS: Readonly<Record<string, (buffer: Buffer, value: number | bigint) => void>> = {
  u8: (buffer, value) => buffer.writeUInt8(Number(value)),
  i8: (buffer, value) => buffer.writeInt8(Number(value)),
  bool: (buffer, value) => buffer.writeUInt8(Number(value)),
  u16: (buffer, value) => buffer.writeUInt16LE(Number(value)),
  i16: (buffer, value) => buffer.writeInt16LE(Number(value)),
  u32: (buffer, value) => buffer.writeUInt32LE(Number(value)),
  i32: (buffer, value) => buffer.writeInt32LE(Number(value)),
  f32: (buffer, value) => buffer.writeFloatLE(Number(value)),
  u64: (buffer, value) => buffer.writeBigUInt64LE(BigInt(value)),
  i64: (buffer, value) => buffer.writeBigInt64LE(BigInt(value)),
  f64: (buffer, value) => buffer.writeDoubleLE(Number(value)),
};
const SIZES: Readonly<Record<string, number>> = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
};

export function number(type: Exclude<ValueType, "array" | "string">, value: number | bigint): Uint8Array {
  const buffer = Buffer.alloc(SIZES[type]!);
  WRITERS[type]!(buffer, value);
  return buffer;
}

function scalar(type: Exclude<ValueType, "array">, value: unknown): Uint8Array {
  if (type === "string") return string(String(value));
  return number(type, typeof value === "bigint" ? value : Number(value));
}

function padded(bytes: Uint8Array, alignment: number): Uint8Array {
  const rest = bytes.length % alignment;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(alignment - rest)]);
}
