/**
 * Number formats of stored tensors: the bits an element occupies, how it becomes a float32, and the way back for the
 * three formats that are written. Names and sizes are those of safetensors (huggingface/safetensors, `Dtype` in
 * safetensors/src/tensor.rs). Block-quantised GGUF formats are elsewhere (io/formats), since they are not element-wise.
 *
 * Bytes are little-endian, in the files and on every platform that onnxruntime-node runs on, so typed arrays are laid
 * over them directly. Bit patterns travel as integers: a NaN keeps its payload.
 */
import { GpruneError, internalError } from "../errors.ts";

/** The formats a model is written in. */
export type FloatDType = "F32" | "F16" | "BF16";

/** Turns `bytes` into `target.length` floats; the bytes need no alignment. */
type Decoder = (bytes: Uint8Array, target: Float32Array) => void;

/** One stored number format. */
export interface StoredDType {
  /** Bits of one element; a tensor as a whole fills complete bytes. */
  readonly bits: number;
  /** Null for formats that are not read: packed or complex numbers, and those of scales in powers of two. */
  readonly decode: Decoder | null;
}

/** Every format of safetensors, by the name its header uses. */
export const STORED_DTYPES: ReadonlyMap<string, StoredDType> = new Map<string, StoredDType>([
  ["F64", { bits: 64, decode: (bytes, target) => target.set(viewOf(Float64Array, bytes)) }],
  ["F32", { bits: 32, decode: (bytes, target) => target.set(viewOf(Float32Array, bytes)) }],
  ["F16", { bits: 16, decode: decodeFloat16 }],
  ["BF16", { bits: 16, decode: decodeBfloat16 }],
  ["I64", { bits: 64, decode: (bytes, target) => decodeBigInts(viewOf(BigInt64Array, bytes), target) }],
  ["U64", { bits: 64, decode: (bytes, target) => decodeBigInts(viewOf(BigUint64Array, bytes), target) }],
  ["I32", { bits: 32, decode: (bytes, target) => target.set(viewOf(Int32Array, bytes)) }],
  ["U32", { bits: 32, decode: (bytes, target) => target.set(viewOf(Uint32Array, bytes)) }],
  ["I16", { bits: 16, decode: (bytes, target) => target.set(viewOf(Int16Array, bytes)) }],
  ["U16", { bits: 16, decode: (bytes, target) => target.set(viewOf(Uint16Array, bytes)) }],
  ["I8", { bits: 8, decode: (bytes, target) => target.set(viewOf(Int8Array, bytes)) }],
  ["U8", { bits: 8, decode: (bytes, target) => target.set(bytes) }],
  ["BOOL", { bits: 8, decode: (bytes, target) => target.set(bytes) }],
  ["C64", { bits: 64, decode: null }],
  ["F8_E4M3", { bits: 8, decode: decodeFloat8 }],
  ["F8_E4M3FNUZ", { bits: 8, decode: null }],
  ["F8_E5M2", { bits: 8, decode: null }],
  ["F8_E5M2FNUZ", { bits: 8, decode: null }],
  ["F8_E8M0", { bits: 8, decode: null }],
  ["F6_E2M3", { bits: 6, decode: null }],
  ["F6_E3M2", { bits: 6, decode: null }],
  ["F4", { bits: 4, decode: null }],
]);

/** Bytes of one element of a format that is written. */
export const FLOAT_BYTES: Readonly<Record<FloatDType, number>> = { F32: 4, F16: 2, BF16: 2 };

/** Whether a stored format is one that is also written. */
export function isFloatDType(name: string): name is FloatDType {
  return Object.hasOwn(FLOAT_BYTES, name);
}

/**
 * Decodes elements into existing memory. Integers and float64 are rounded to the nearest float32.
 * @param dtype - a key of `STORED_DTYPES`
 * @param bytes - exactly the elements of `target`
 * @throws GpruneError UNSUPPORTED for formats that are not read (float8 other than E4M3, float6, float4, complex)
 */
export function decodeInto(dtype: string, bytes: Uint8Array, target: Float32Array): void {
  const format = STORED_DTYPES.get(dtype);
  if (format === undefined) throw internalError(`decoding of dtype ${dtype}`);
  if (format.decode === null) throw unreadableDType(`dtype ${dtype}`, dtype);
  if (bytes.length * 8 !== target.length * format.bits) {
    throw internalError(`${bytes.length} bytes of ${dtype} for ${target.length} elements`);
  }
  format.decode(bytes, target);
}

/** The error for a format whose `decode` is null. */
export function unreadableDType(where: string, dtype: string): GpruneError {
  return new GpruneError(
    "UNSUPPORTED",
    `${where}: expected plain numbers, got the quantised or complex ${dtype}`,
    {
      hint: "Convert the checkpoint to bfloat16, float16 or float32 first.",
    },
  );
}

/** All elements of `bytes`, a whole number of them, as a new array; see `decodeInto`. */
export function decode(dtype: string, bytes: Uint8Array): Float32Array {
  const bits = STORED_DTYPES.get(dtype)?.bits ?? 8;
  const values = new Float32Array(Math.floor((bytes.length * 8) / bits));
  decodeInto(dtype, bytes, values);
  return values;
}

/**
 * Encodes floats, rounding to nearest and ties to even. Magnitudes beyond the format become infinite, NaN stays NaN.
 * @returns `values.length * FLOAT_BYTES[dtype]` bytes; for F32 they are a view of `values`, not a copy
 */
export function encode(dtype: FloatDType, values: Float32Array): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const toBits = dtype === "F16" ? float16FromFloat32Bits : bfloat16FromFloat32Bits;
  const source = viewOf(Uint32Array, values);
  const target = new Uint16Array(values.length);
  for (let i = 0; i < source.length; i++) target[i] = toBits(source[i]!);
  return new Uint8Array(target.buffer);
}

/**
 * Rounds floats in place to the nearest value of a format, as `encode` does.
 * @returns `values`
 */
export function roundTo(dtype: FloatDType, values: Float32Array): Float32Array {
  const bits = viewOf(Int32Array, values);
  if (dtype === "BF16") {
    for (let i = 0; i < bits.length; i++) bits[i] = bfloat16FromFloat32Bits(bits[i]!) << 16;
  } else if (dtype === "F16") {
    const table = float16Table();
    for (let i = 0; i < bits.length; i++) bits[i] = table[float16FromFloat32Bits(bits[i]!)]!;
  }
  return values;
}

/** The value of one float16 bit pattern, 0..65535. */
export function float16Value(pattern: number): number {
  scratchBits[0] = float16Table()[pattern]!;
  return scratchFloat[0]!;
}

/** The value of the float16 at byte offset `at`. */
export function float16At(bytes: Uint8Array, at: number): number {
  return float16Value(bytes[at]! | (bytes[at + 1]! << 8));
}

/** The bit pattern of the float16 nearest to a value, which is first rounded to float32. */
export function float16Pattern(value: number): number {
  scratchFloat[0] = value;
  return float16FromFloat32Bits(scratchBits[0]!);
}

/** One float and its bits, for the conversions that need arithmetic on single values. */
const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

interface ViewConstructor<T> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): T;
}

/** Elements laid over bytes; the bytes are copied when they do not start at a multiple of the element's size. */
function viewOf<T>(View: ViewConstructor<T>, bytes: Uint8Array | Float32Array): T {
  const size = View.BYTES_PER_ELEMENT;
  const { buffer, byteOffset, byteLength } = bytes;
  const aligned = byteOffset % size === 0 ? { buffer, byteOffset } : { buffer: copyOf(bytes), byteOffset: 0 };
  return new View(aligned.buffer, aligned.byteOffset, byteLength / size);
}

/** `slice` will not do here: on a Buffer it makes a view. */
function copyOf({ buffer, byteOffset, byteLength }: Uint8Array | Float32Array): ArrayBufferLike {
  return buffer.slice(byteOffset, byteOffset + byteLength);
}

// The loops below are unrolled by 8, which is twice as fast: V8 neither unrolls loops nor vectorises them.

function decodeFloat16(bytes: Uint8Array, target: Float32Array): void {
  const table = float16Table();
  const source = viewOf(Uint16Array, bytes);
  const bits = viewOf(Int32Array, target);
  const unrolled = source.length - (source.length % 8);
  for (let i = 0; i < unrolled; i += 8) {
    bits[i] = table[source[i]!]!;
    bits[i + 1] = table[source[i + 1]!]!;
    bits[i + 2] = table[source[i + 2]!]!;
    bits[i + 3] = table[source[i + 3]!]!;
    bits[i + 4] = table[source[i + 4]!]!;
    bits[i + 5] = table[source[i + 5]!]!;
    bits[i + 6] = table[source[i + 6]!]!;
    bits[i + 7] = table[source[i + 7]!]!;
  }
  for (let i = unrolled; i < source.length; i++) bits[i] = table[source[i]!]!;
}

/** A bfloat16 is the upper half of a float32. */
function decodeBfloat16(bytes: Uint8Array, target: Float32Array): void {
  const source = viewOf(Uint16Array, bytes);
  const bits = viewOf(Int32Array, target);
  const unrolled = source.length - (source.length % 8);
  for (let i = 0; i < unrolled; i += 8) {
    bits[i] = source[i]! << 16;
    bits[i + 1] = source[i + 1]! << 16;
    bits[i + 2] = source[i + 2]! << 16;
    bits[i + 3] = source[i + 3]! << 16;
    bits[i + 4] = source[i + 4]! << 16;
    bits[i + 5] = source[i + 5]! << 16;
    bits[i + 6] = source[i + 6]! << 16;
    bits[i + 7] = source[i + 7]! << 16;
  }
  for (let i = unrolled; i < source.length; i++) bits[i] = source[i]! << 16;
}

function decodeBigInts(source: BigInt64Array | BigUint64Array, target: Float32Array): void {
  for (let i = 0; i < source.length; i++) target[i] = Number(source[i]!);
}

let lazyFloat8Table: Float32Array | undefined;

/**
 * Float8 as the weights of language models have it: 1 sign bit, 4 exponent bits biased by 7, 3 fraction bits, no
 * infinities, and NaN where all others are set (`float8_e4m3fn` of PyTorch; arXiv 2209.05433).
 */
function decodeFloat8(bytes: Uint8Array, target: Float32Array): void {
  lazyFloat8Table ??= Float32Array.from({ length: 2 ** 8 }, (_, pattern) => float8Value(pattern));
  const table = lazyFloat8Table;
  for (let i = 0; i < bytes.length; i++) target[i] = table[bytes[i]!]!;
}

function float8Value(pattern: number): number {
  const sign = pattern < 0x80 ? 1 : -1;
  const exponent = (pattern >> 3) & 0xf;
  const fraction = pattern & 7;
  if (exponent === 0xf && fraction === 7) return Number.NaN;
  return exponent > 0 ? sign * (8 + fraction) * 2 ** (exponent - 10) : sign * fraction * 2 ** -9;
}

let lazyFloat16Table: Int32Array | undefined;

/** Float32 bits of each of the 65536 float16 patterns; 15 times faster than decoding by arithmetic. */
function float16Table(): Int32Array {
  if (lazyFloat16Table === undefined) {
    lazyFloat16Table = new Int32Array(2 ** 16);
    for (let pattern = 0; pattern < 2 ** 16; pattern++) lazyFloat16Table[pattern] = float32BitsOf(pattern);
  }
  return lazyFloat16Table;
}

/** Float32 bits of a float16: 1 sign bit, 5 exponent bits biased by 15, 10 fraction bits (IEEE 754 binary16). */
function float32BitsOf(pattern: number): number {
  const sign = (pattern & 0x8000) << 16;
  const exponent = (pattern >> 10) & 0x1f;
  const fraction = pattern & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 127 - 15) << 23) | (fraction << 13);
  scratchFloat[0] = fraction * 2 ** -24;
  return sign | scratchBits[0]!;
}

/**
 * The float16 nearest to a float32, ties to even, both as bits. After F. Giesen, `float_to_half_fast3_rtne`
 * (gist.github.com/rygorous/2156668).
 */
function float16FromFloat32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7c00 | ((magnitude >>> 13) & 0x3ff || 0x200);
  // 2^16 and more is infinite; from 65520 to 2^16 the carry of the rounding below gives infinity.
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  // 2^-14, the smallest normal: drop 13 fraction bits and move the bias from 127 to 15.
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - ((127 - 15) << 23)) >>> 13);
  }
  // Subnormal: next to 0.5 the float32 grid has float16's subnormal step 2^-24, so the addition rounds.
  scratchBits[0] = magnitude;
  scratchFloat[0] = scratchFloat[0]! + 0.5;
  return sign | (scratchBits[0]! - 0x3f000000);
}

/** The bfloat16 nearest to a float32, ties to even, both as bits; a carry past the largest value gives infinity. */
function bfloat16FromFloat32Bits(bits: number): number {
  const upper = bits >>> 16;
  if ((bits & 0x7fffffff) > 0x7f800000) return (upper & 0x7f) === 0 ? upper | 0x40 : upper;
  return (bits + 0x7fff + (upper & 1)) >>> 16;
}
