/**
 * Encoding of GGUF metadata values: a type id, then the value. Encoded values are plain bytes, so that a value can be
 * copied from one file to another without decoding.
 *
 * Format: docs/gguf.md of ggml-org/ggml.
 */
import { internalError } from "../../errors.ts";

/** enum gguf_type of gguf.h. */
export const GGUF_TYPE_IDS = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;

/** A type id and a value of that type, as in a file. */
export type EncodedValue = Uint8Array;

export const u32 = (value: number): EncodedValue => Buffer.concat([typeId("uint32"), integer(value)]);
export const f32 = (value: number): EncodedValue => Buffer.concat([typeId("float32"), float(value)]);
export const flag = (value: boolean): EncodedValue =>
  Buffer.concat([typeId("bool"), Buffer.from([Number(value)])]);
export const text = (value: string): EncodedValue => Buffer.concat([typeId("string"), encodeText(value)]);
export const flags = (values: readonly boolean[]): EncodedValue =>
  array("bool", values.length, Uint8Array.from(values, Number));
export const i32s = (values: readonly number[]): EncodedValue =>
  array("int32", values.length, Int32Array.from(values));
export const f32s = (values: readonly number[]): EncodedValue =>
  array("float32", values.length, Float32Array.from(values));
export const texts = (values: readonly string[]): EncodedValue =>
  array("string", values.length, Buffer.concat(values.map(encodeText)));

/** A string without its type id: length in bytes, then UTF-8. */
export function encodeText(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([encodeU64(bytes.length), bytes]);
}

export function encodeU64(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export function encodeU32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function typeId(type: keyof typeof GGUF_TYPE_IDS): Uint8Array {
  return encodeU32(GGUF_TYPE_IDS[type]);
}

function integer(value: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) throw internalError(`${value} as a uint32`);
  return encodeU32(value);
}

function float(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

/** @param items - the elements, little-endian as on every platform that gprune runs on */
function array(
  type: keyof typeof GGUF_TYPE_IDS,
  length: number,
  items: Int32Array | Float32Array | Uint8Array,
): EncodedValue {
  const bytes = new Uint8Array(items.buffer, items.byteOffset, items.byteLength);
  return Buffer.concat([typeId("array"), typeId(type), encodeU64(length), bytes]);
}
