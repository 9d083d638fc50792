/**
 * The block types of ggml unpacked to integers, scales and minima instead of float32: the factors that the dequantisers
 * in ggml_types.ts multiply. The byte layouts are described there. The dequantisers do not build on this module,
 * because going through an array of integers takes twice as long, and every pass over a model waits for it.
 *
 * Every type is w = scale q + min for integers q. Codes are q shifted to the centre of their range, with the minimum
 * adjusted for the shift: w = scale (code - 2^(bits - 1)) + (min + scale centre), rounded to float32 once.
 */
import type { BlockLayout, BlockTensor } from "../../tensor/blocks.ts";
import { float16At } from "../../tensor/dtype.ts";
import { GGML_TYPES, MXFP4_VALUES, mxfp4Scale, packedMin, packedScale } from "./ggml_types.ts";

/** One unpacked block of a file; scales and minima per run of `layout.blockSize` weights. */
interface Parts {
  /** q of every weight, non-negative. */
  readonly quants: Uint8Array;
  readonly scales: Float64Array;
  /** Unused by types without minima. */
  readonly mins: Float64Array;
}

interface BlockType {
  readonly layout: BlockLayout;
  /** The q of weight 0, or the centre of the range for types with minima. */
  readonly centre: number;
  /** Unpacks the block that starts at byte `at`. */
  readonly unpack: (bytes: Uint8Array, at: number, parts: Parts) => void;
}

const NIBBLES: BlockLayout = { bits: 4, blockSize: 32, offsets: false, terms: 1 };
const BYTES: BlockLayout = { bits: 8, blockSize: 32, offsets: false, terms: 1 };

/** By name in `GGML_TYPES`. */
const TYPES: Readonly<Record<string, BlockType>> = {
  Q4_0: { layout: NIBBLES, centre: 8, unpack: unpackQ4(2) },
  Q4_1: { layout: { ...NIBBLES, offsets: true }, centre: 8, unpack: unpackQ4(4) },
  Q5_0: { layout: BYTES, centre: 16, unpack: unpackQ5(2) },
  Q5_1: { layout: { ...BYTES, offsets: true }, centre: 16, unpack: unpackQ5(4) },
  Q8_0: { layout: BYTES, centre: 128, unpack: unpackQ8 },
  Q2_K: { layout: { ...NIBBLES, blockSize: 16, offsets: true }, centre: 2, unpack: unpackQ2K },
  Q3_K: { layout: { ...NIBBLES, blockSize: 16 }, centre: 4, unpack: unpackQ3K },
  Q4_K: { layout: { ...NIBBLES, offsets: true }, centre: 8, unpack: unpackQ4K },
  Q5_K: { layout: { ...BYTES, offsets: true }, centre: 16, unpack: unpackQ5K },
  Q6_K: { layout: { ...BYTES, blockSize: 16 }, centre: 32, unpack: unpackQ6K },
  MXFP4: { layout: BYTES, centre: 128, unpack: unpackMxfp4 },
};

/**
 * The block layout in memory of a ggml type; undefined for types without blocks, and for those that cannot be read.
 */
export function ggmlBlockLayout(type: string): BlockLayout | undefined {
  return TYPES[type]?.layout;
}

/**
 * Unpacks whole blocks of a file into a part of a matrix.
 * @param type - a type with a layout by `ggmlBlockLayout`
 * @param first - index of the first weight, a multiple of the file's block size
 */
export function unpackGgmlBlocks(
  type: string,
  bytes: Uint8Array,
  { target, first }: { readonly target: BlockTensor; readonly first: number },
): void {
  const { layout, centre, unpack } = TYPES[type]!;
  const { blockSize: weights, blockBytes: stride } = GGML_TYPES.get(type)!;
  const { bits, blockSize } = layout;
  const runs = weights / blockSize;
  const parts: Parts = {
    quants: new Uint8Array(weights),
    scales: new Float64Array(runs),
    mins: new Float64Array(runs),
  };
  const shift = 2 ** (bits - 1) - centre;
  for (let at = 0, weight = first; at < bytes.length; at += stride, weight += weights) {
    unpack(bytes, at, parts);
    if (bits === 4) packNibbles(parts.quants, shift, target.codes.subarray(weight / 2));
    else for (let i = 0; i < weights; i++) target.codes[weight + i] = parts.quants[i]! + shift;
    const block = weight / blockSize;
    for (let run = 0; run < runs; run++) {
      const scale = parts.scales[run]!;
      target.scales[block + run] = scale;
      if (target.offsets !== null) target.offsets[block + run] = parts.mins[run]! + scale * centre;
    }
  }
}

function packNibbles(quants: Uint8Array, shift: number, codes: Uint8Array): void {
  for (let i = 0; i < quants.length; i += 2) {
    codes[i >> 1] = (quants[i]! + shift) | ((quants[i + 1]! + shift) << 4);
  }
}

/** @param quants - byte offset of the nibbles in a block; 4 when a minimum is stored before them */
function unpackQ4(quants: 2 | 4): BlockType["unpack"] {
  return (bytes, at, parts) => {
    parts.scales[0] = float16At(bytes, at);
    if (quants === 4) parts.mins[0] = float16At(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + quants + i]!;
      parts.quants[i] = pair & 15;
      parts.quants[i + 16] = pair >> 4;
    }
  };
}

/** @param high - byte offset of the word of fifth bits; 4 when a minimum is stored before it */
function unpackQ5(high: 2 | 4): BlockType["unpack"] {
  return (bytes, at, parts) => {
    parts.scales[0] = float16At(bytes, at);
    if (high === 4) parts.mins[0] = float16At(bytes, at + 2);
    const word = at + high;
    const low16 = bytes[word]! | (bytes[word + 1]! << 8);
    const high16 = bytes[word + 2]! | (bytes[word + 3]! << 8);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[word + 4 + i]!;
      parts.quants[i] = (pair & 15) | (((low16 >> i) & 1) << 4);
      parts.quants[i + 16] = (pair >> 4) | (((high16 >> i) & 1) << 4);
    }
  };
}

function unpackQ8(bytes: Uint8Array, at: number, parts: Parts): void {
  parts.scales[0] = float16At(bytes, at);
  // A signed byte plus 128.
  for (let i = 0; i < 32; i++) parts.quants[i] = bytes[at + 2 + i]! ^ 128;
}

function unpackMxfp4(bytes: Uint8Array, at: number, parts: Parts): void {
  parts.scales[0] = mxfp4Scale(bytes[at]!);
  for (let i = 0; i < 16; i++) {
    const pair = bytes[at + 1 + i]!;
    parts.quants[i] = MXFP4_VALUES[pair & 15]! + 128;
    parts.quants[i + 16] = MXFP4_VALUES[pair >> 4]! + 128;
  }
}

function unpackQ2K(bytes: Uint8Array, at: number, parts: Parts): void {
  const [d, dmin] = [float16At(bytes, at + 80), float16At(bytes, at + 82)];
  for (let run = 0; run < 16; run++) {
    const packed = bytes[at + run]!;
    parts.scales[run] = d * (packed & 15);
    parts.mins[run] = -dmin * (packed >> 4);
    const quants = at + 16 + (run >> 3) * 32 + (run & 1) * 16;
    for (let i = 0; i < 16; i++) parts.quants[run * 16 + i] = (bytes[quants + i]! >> (run & 6)) & 3;
  }
}

function unpackQ3K(bytes: Uint8Array, at: number, parts: Parts): void {
  const d = float16At(bytes, at + 108);
  for (let run = 0; run < 16; run++) {
    const low = (bytes[at + 96 + (run & 7)]! >> (run < 8 ? 0 : 4)) & 15;
    const high = (bytes[at + 104 + (run & 3)]! >> ((run >> 2) * 2)) & 3;
    parts.scales[run] = d * ((low | (high << 4)) - 32);
    const half16 = (run & 1) * 16;
    const quants = at + 32 + (run >> 3) * 32 + half16;
    for (let i = 0; i < 16; i++) {
      const top = ((bytes[at + half16 + i]! >> (run >> 1)) & 1) << 2;
      parts.quants[run * 16 + i] = ((bytes[quants + i]! >> (run & 6)) & 3) | top;
    }
  }
}

/** 6-bit scales and minima of Q4_K and Q5_K, packed alike into 12 bytes. */
function unpackPackedScales(bytes: Uint8Array, at: number, parts: Parts): void {
  const [d, dmin] = [float16At(bytes, at), float16At(bytes, at + 2)];
  for (let k = 0; k < 8; k++) {
    parts.scales[k] = d * packedScale(bytes, at + 4, k);
    parts.mins[k] = -dmin * packedMin(bytes, at + 4, k);
  }
}

function unpackQ4K(bytes: Uint8Array, at: number, parts: Parts): void {
  unpackPackedScales(bytes, at, parts);
  for (let k = 0; k < 8; k++) {
    const quants = at + 16 + (k >> 1) * 32;
    for (let i = 0; i < 32; i++) parts.quants[k * 32 + i] = (bytes[quants + i]! >> ((k & 1) * 4)) & 15;
  }
}

function unpackQ5K(bytes: Uint8Array, at: number, parts: Parts): void {
  unpackPackedScales(bytes, at, parts);
  for (let k = 0; k < 8; k++) {
    const quants = at + 48 + (k >> 1) * 32;
    for (let i = 0; i < 32; i++) {
      const low = (bytes[quants + i]! >> ((k & 1) * 4)) & 15;
      parts.quants[k * 32 + i] = low | (((bytes[at + 16 + i]! >> k) & 1) << 4);
    }
  }
}

function unpackQ6K(bytes: Uint8Array, at: number, parts: Parts): void {
  const d = float16At(bytes, at + 208);
  for (let run = 0; run < 16; run++) {
    const n = run >> 3;
    const j = (run >> 1) & 3;
    const half16 = (run & 1) * 16;
    // A signed byte.
    parts.scales[run] = d * ((bytes[at + 192 + run]! << 24) >> 24);
    const low = at + n * 64 + (j & 1) * 32 + half16;
    const high = at + 128 + n * 32 + half16;
    for (let i = 0; i < 16; i++) {
      const bits = (bytes[low + i]! >> ((j >> 1) * 4)) & 15;
      parts.quants[run * 16 + i] = bits | (((bytes[high + i]! >> (j * 2)) & 3) << 4);
    }
  }
}
