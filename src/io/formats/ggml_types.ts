/**
 * The tensor types of ggml as a table: ids, block sizes and dequantisers to float32. No reader and no message branches
 * on a type.
 *
 * A quantised row is a sequence of blocks; a block is `blockSize` weights in `blockBytes` bytes, with a half-precision
 * scale d and in some types a minimum m. All integers are little-endian, and every product below is exact in float32,
 * so a dequantised weight is rounded once. Formats as defined in ggml-common.h and ggml-quants.c (ggml-org/llama.cpp);
 * ids as in enum ggml_type of ggml.h.
 */
import { GpruneError } from "../../errors.ts";
import { decodeInto, float16At } from "../../tensor/dtype.ts";

/** Fills `out` with the weights of `out.length / blockSize` consecutive blocks that start at `bytes[0]`. */
export type Dequantize = (bytes: Uint8Array, out: Float32Array) => void;

/** A tensor type of ggml. */
export interface GgmlType {
  /** `Q4_1`. */
  readonly name: string;
  /** Its number in enum ggml_type of ggml.h. */
  readonly id: number;
  /** Weights in a block. */
  readonly blockSize: number;
  /** Bytes of a block. */
  readonly blockBytes: number;
  /** Null for types whose values cannot be read, only their size. */
  readonly dequantize: Dequantize | null;
}

/** QK_K of ggml-common.h, weights in a block of the K types. */
const SUPER_BLOCK = 256;

/** [id, blockSize, blockBytes, dequantize] by name. */
const LAYOUTS: Readonly<Record<string, readonly [number, number, number, Dequantize | null]>> = {
  F32: [0, 1, 4, plain("F32")],
  F16: [1, 1, 2, plain("F16")],
  Q4_0: [2, 32, 18, fourBit({ offset: 8 })],
  Q4_1: [3, 32, 20, fourBit({ offset: null })],
  Q5_0: [6, 32, 22, fiveBit({ offset: 16 })],
  Q5_1: [7, 32, 24, fiveBit({ offset: null })],
  Q8_0: [8, 32, 34, dequantizeQ8],
  Q8_1: [9, 32, 40, null],
  Q2_K: [10, SUPER_BLOCK, 84, dequantizeQ2K],
  Q3_K: [11, SUPER_BLOCK, 110, dequantizeQ3K],
  Q4_K: [12, SUPER_BLOCK, 144, dequantizeQ4K],
  Q5_K: [13, SUPER_BLOCK, 176, dequantizeQ5K],
  Q6_K: [14, SUPER_BLOCK, 210, dequantizeQ6K],
  Q8_K: [15, SUPER_BLOCK, 292, null],
  IQ2_XXS: [16, SUPER_BLOCK, 66, null],
  IQ2_XS: [17, SUPER_BLOCK, 74, null],
  IQ3_XXS: [18, SUPER_BLOCK, 98, null],
  IQ1_S: [19, SUPER_BLOCK, 50, null],
  IQ4_NL: [20, 32, 18, null],
  IQ3_S: [21, SUPER_BLOCK, 110, null],
  IQ2_S: [22, SUPER_BLOCK, 82, null],
  IQ4_XS: [23, SUPER_BLOCK, 136, null],
  I8: [24, 1, 1, plain("I8")],
  I16: [25, 1, 2, plain("I16")],
  I32: [26, 1, 4, plain("I32")],
  I64: [27, 1, 8, plain("I64")],
  F64: [28, 1, 8, plain("F64")],
  IQ1_M: [29, SUPER_BLOCK, 56, null],
  BF16: [30, 1, 2, plain("BF16")],
  TQ1_0: [34, SUPER_BLOCK, 54, null],
  TQ2_0: [35, SUPER_BLOCK, 66, null],
  MXFP4: [39, 32, 17, dequantizeMxfp4],
  NVFP4: [40, 64, 36, null],
  Q1_0: [41, 128, 18, null],
};

/** Every known type by name. */
export const GGML_TYPES: ReadonlyMap<string, GgmlType> = new Map(
  Object.entries(LAYOUTS).map(([name, [id, blockSize, blockBytes, dequantize]]) => [
    name,
    { name, id, blockSize, blockBytes, dequantize },
  ]),
);

const TYPES_BY_ID: ReadonlyMap<number, GgmlType> = new Map(
  [...GGML_TYPES.values()].map((type) => [type.id, type]),
);

/** The type with this id; undefined for removed and future types. */
export function ggmlTypeOfId(id: number): GgmlType | undefined {
  return TYPES_BY_ID.get(id);
}

/**
 * The dequantiser of a type.
 * @param where - file and tensor, for the message
 * @throws GpruneError UNSUPPORTED for types whose values cannot be read
 */
export function dequantizerOf(type: GgmlType, where: string): Dequantize {
  if (type.dequantize !== null) return type.dequantize;
  const readable = [...GGML_TYPES.values()].filter((other) => other.dequantize !== null);
  throw new GpruneError(
    "UNSUPPORTED",
    `${where}: expected one of the types ${readable.map((other) => other.name).join(", ")}, got ${type.name}`,
    { hint: "Convert the file to Q8_0 or F16 with llama-quantize, or start from the original checkpoint." },
  );
}

/** Types without blocks: one number per weight. */
function plain(dtype: string): Dequantize {
  return (bytes, out) => decodeInto(dtype, bytes, out);
}

/**
 * Q4: w = d q + m, q in 0..15. Layout: d, m when stored, then 16 bytes that hold q of weights i (low) and i + 16
 * (high). Q4_0 stores no m and has m = -8 d.
 */
function fourBit({ offset }: { readonly offset: number | null }): Dequantize {
  const quants = offset === null ? 4 : 2;
  const stride = quants + 16;
  return (bytes, out) => {
    for (let at = 0, o = 0; o < out.length; at += stride, o += 32) {
      const d = float16At(bytes, at);
      const m = offset === null ? float16At(bytes, at + 2) : -offset * d;
      for (let i = 0; i < 16; i++) {
        const pair = bytes[at + quants + i]!;
        out[o + i] = d * (pair & 15) + m;
        out[o + i + 16] = d * (pair >> 4) + m;
      }
    }
  };
}

/** Q5: as Q4 with q in 0..31; a 32-bit word before the nibbles holds the fifth bit of weight i in bit i. */
function fiveBit({ offset }: { readonly offset: number | null }): Dequantize {
  const high = offset === null ? 4 : 2;
  const quants = high + 4;
  const stride = quants + 16;
  return (bytes, out) => {
    for (let at = 0, o = 0; o < out.length; at += stride, o += 32) {
      const d = float16At(bytes, at);
      const m = offset === null ? float16At(bytes, at + 2) : -offset * d;
      const word = at + high;
      const low16 = bytes[word]! | (bytes[word + 1]! << 8);
      const high16 = bytes[word + 2]! | (bytes[word + 3]! << 8);
      for (let i = 0; i < 16; i++) {
        const pair = bytes[at + quants + i]!;
        out[o + i] = d * ((pair & 15) | (((low16 >> i) & 1) << 4)) + m;
        out[o + i + 16] = d * ((pair >> 4) | (((high16 >> i) & 1) << 4)) + m;
      }
    }
  };
}

/** Q8_0: w = d q, q a signed byte. Layout: d, 32 q. */
function dequantizeQ8(bytes: Uint8Array, out: Float32Array): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0, o = 0; o < out.length; at += 34, o += 32) {
    const d = float16At(bytes, at);
    for (let i = 0; i < 32; i++) out[o + i] = d * signed[at + 2 + i]!;
  }
}

/**
 * Q2_K: w = d s q - dmin m, q in 0..3, s and m the nibbles of a byte for 16 weights. Layout: 16 scale bytes, 64 bytes
 * of q, d, dmin. Bits 2j of q byte 32 n + i belong to weight 128 n + 32 j + i.
 */
function dequantizeQ2K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 84, o += SUPER_BLOCK) {
    const d = float16At(bytes, at + 80);
    const dmin = float16At(bytes, at + 82);
    for (let run = 0; run < 16; run++) {
      const packed = bytes[at + run]!;
      const scale = d * (packed & 15);
      const min = dmin * (packed >> 4);
      const shift = run & 6;
      const quants = at + 16 + (run >> 3) * 32 + (run & 1) * 16;
      const start = o + run * 16;
      for (let i = 0; i < 16; i++) out[start + i] = scale * ((bytes[quants + i]! >> shift) & 3) - min;
    }
  }
}

/**
 * Q3_K: w = d s (q - 4), q in 0..7, s = a 6-bit number - 32 for 16 weights. Layout: 32 bytes of high bits, 64 bytes of
 * low bit pairs (as in Q2_K), 12 bytes of scales, d. Bit 4 n + j of high byte i belongs to weight 128 n + 32 j + i.
 */
function dequantizeQ3K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 110, o += SUPER_BLOCK) {
    const d = float16At(bytes, at + 108);
    for (let run = 0; run < 16; run++) {
      const low = (bytes[at + 96 + (run & 7)]! >> (run < 8 ? 0 : 4)) & 15;
      const high = (bytes[at + 104 + (run & 3)]! >> ((run >> 2) * 2)) & 3;
      const scale = d * ((low | (high << 4)) - 32);
      const shift = run & 6;
      const half16 = (run & 1) * 16;
      const quants = at + 32 + (run >> 3) * 32 + half16;
      const highBit = run >> 1;
      const start = o + run * 16;
      for (let i = 0; i < 16; i++) {
        const top = ((bytes[at + half16 + i]! >> highBit) & 1) << 2;
        out[start + i] = scale * (((bytes[quants + i]! >> shift) & 3) + top - 4);
      }
    }
  }
}

/** Twice the numbers of four bits of MXFP4 (E2M1): those without a sign, then their negatives. */
export const MXFP4_VALUES: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/** Half the scale of a block of MXFP4 whose exponent is stored as `exponent`. */
export function mxfp4Scale(exponent: number): number {
  return 2 ** (exponent - 128);
}

/** MXFP4: w = 2^(e - 128) v. Layout: e, then 16 bytes that hold v of weights i (low) and i + 16 (high), by code. */
function dequantizeMxfp4(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 17, o += 32) {
    const d = mxfp4Scale(bytes[at]!);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 1 + i]!;
      out[o + i] = d * MXFP4_VALUES[pair & 15]!;
      out[o + i + 16] = d * MXFP4_VALUES[pair >> 4]!;
    }
  }
}

/** 6-bit scale of sub-block `k` in the 12 packed bytes of Q4_K and Q5_K. */
export function packedScale(bytes: Uint8Array, at: number, k: number): number {
  if (k < 4) return bytes[at + k]! & 63;
  return (bytes[at + k + 4]! & 15) | ((bytes[at + k - 4]! >> 6) << 4);
}

/** 6-bit minimum of sub-block `k` in the 12 packed bytes of Q4_K and Q5_K. */
export function packedMin(bytes: Uint8Array, at: number, k: number): number {
  if (k < 4) return bytes[at + k + 4]! & 63;
  return (bytes[at + k + 4]! >> 4) | ((bytes[at + k]! >> 6) << 4);
}

/**
 * Q4_K: w = d s q - dmin m, q in 0..15, s and m 6-bit for 32 weights. Layout: d, dmin, 12 bytes of s and m, 128 bytes
 * of q: byte 32 j + i holds weights 64 j + i (low) and 64 j + 32 + i (high).
 */
function dequantizeQ4K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 144, o += SUPER_BLOCK) {
    const d = float16At(bytes, at);
    const dmin = float16At(bytes, at + 2);
    for (let k = 0; k < 8; k++) {
      const scale = d * packedScale(bytes, at + 4, k);
      const min = dmin * packedMin(bytes, at + 4, k);
      const shift = (k & 1) * 4;
      const quants = at + 16 + (k >> 1) * 32;
      const start = o + k * 32;
      for (let i = 0; i < 32; i++) out[start + i] = scale * ((bytes[quants + i]! >> shift) & 15) - min;
    }
  }
}

/**
 * Q5_K: as Q4_K with q in 0..31; 32 bytes before the nibbles hold the fifth bit of weight 32 k + i in bit k of byte i.
 */
function dequantizeQ5K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 176, o += SUPER_BLOCK) {
    const d = float16At(bytes, at);
    const dmin = float16At(bytes, at + 2);
    const high = at + 16;
    for (let k = 0; k < 8; k++) {
      const scale = d * packedScale(bytes, at + 4, k);
      const min = dmin * packedMin(bytes, at + 4, k);
      const shift = (k & 1) * 4;
      const quants = at + 48 + (k >> 1) * 32;
      const start = o + k * 32;
      for (let i = 0; i < 32; i++) {
        const q = ((bytes[quants + i]! >> shift) & 15) | (((bytes[high + i]! >> k) & 1) << 4);
        out[start + i] = scale * q - min;
      }
    }
  }
}

/**
 * Q6_K: w = d s (q - 32), q in 0..63, s a signed byte for 16 weights. Layout: 128 bytes of low nibbles, 64 bytes of
 * high bit pairs, 16 scales, d. Weight 128 n + 32 j + i has its nibble in byte 64 n + 32 (j & 1) + i (high half for
 * j >= 2) and its pair in bits 2j of byte 32 n + i.
 */
function dequantizeQ6K(bytes: Uint8Array, out: Float32Array): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0, o = 0; o < out.length; at += 210, o += SUPER_BLOCK) {
    const d = float16At(bytes, at + 208);
    for (let run = 0; run < 16; run++) {
      const n = run >> 3;
      const j = (run >> 1) & 3;
      const half16 = (run & 1) * 16;
      const scale = d * signed[at + 192 + run]!;
      const low = at + n * 64 + (j & 1) * 32 + half16;
      const lowShift = (j >> 1) * 4;
      const high = at + 128 + n * 32 + half16;
      const start = o + run * 16;
      for (let i = 0; i < 16; i++) {
        const q = ((bytes[low + i]! >> lowShift) & 15) | (((bytes[high + i]! >> (j * 2)) & 3) << 4);
        out[start + i] = scale * (q - 32);
      }
    }
  }
}
