/**
 * Quantisation to Q4_K and Q6_K, super-blocks of 256 weights. Gives the bytes of `quantize_row_q4_K_ref` and
 * `quantize_row_q6_K_ref` in ggml-quants.c (ggml-org/llama.cpp): the same candidates in the same order, and every
 * operation rounded to float32 as there. Layouts are described at the dequantisers in ggml_types.ts.
 */

import { float16At } from "../../tensor/dtype.ts";
import { clamp } from "../../tensor/statistics.ts";
import { writeHalf } from "./ggml_quantize.ts";

const f32 = Math.fround;

/** QK_K of ggml-common.h. */
const SUPER_BLOCK = 256;
const Q4_K_BYTES = 144;
const Q6_K_BYTES = 210;
/** GROUP_MAX_EPS of ggml-quants.c: groups of smaller weights become zeros. */
const NEGLIGIBLE = 1e-15;
/** Largest 6-bit scale or minimum of Q4_K. */
const MAX_SCALE = 63;
/** 1.5 * 2^23, of ggml's nearest_int: a float32 this large has no fraction bits, so adding it rounds, ties to even. */
const NO_FRACTION = 12_582_912;
/** Distance of neighbouring candidate scales in units of q. */
const STEP = f32(0.1);

const scratch = new Float32Array(1);
const scratchBits = new Int32Array(scratch.buffer);

/** nearest_int of ggml-quants.c, including its results for values beyond 2^22 and NaN. */
function nearest(value: number): number {
  scratch[0] = value + NO_FRACTION;
  return (scratchBits[0]! & 0x7fffff) - 0x400000;
}

/**
 * Q4_K: scale and minimum of every 32 weights by weighted least squares, both then rounded to 6 bits.
 * @param values - whole blocks of 256 finite numbers
 */
export function quantizeQ4K(values: Float32Array): Uint8Array {
  return quantizeBlocks(values, Q4_K_BYTES, encodeQ4K);
}

/** Encodes every block of 256 into `blockBytes` bytes. */
function quantizeBlocks(
  values: Float32Array,
  blockBytes: number,
  encode: (block: Float32Array, quants: Uint8Array, out: Uint8Array) => void,
): Uint8Array {
  const bytes = new Uint8Array((values.length / SUPER_BLOCK) * blockBytes);
  const quants = new Uint8Array(SUPER_BLOCK);
  for (let o = 0, at = 0; o < values.length; o += SUPER_BLOCK, at += blockBytes) {
    encode(values.subarray(o, o + SUPER_BLOCK), quants, bytes.subarray(at, at + blockBytes));
  }
  return bytes;
}

function encodeQ4K(block: Float32Array, quants: Uint8Array, out: Uint8Array): void {
  const scales = new Float32Array(8);
  const mins = new Float32Array(8);
  for (let j = 0; j < 8; j++) {
    const part = block.subarray(32 * j, 32 * j + 32);
    const fit = fitLine(part, quants.subarray(32 * j, 32 * j + 32));
    scales[j] = fit.scale;
    mins[j] = -fit.min;
  }
  const d = Math.max(0, maxOf(scales));
  const dmin = Math.max(0, maxOf(mins));
  writeHalf(out, 0, f32(d / MAX_SCALE));
  writeHalf(out, 2, f32(dmin / MAX_SCALE));
  const perScale = d > 0 ? f32(MAX_SCALE / d) : 0;
  const perMin = dmin > 0 ? f32(MAX_SCALE / dmin) : 0;
  for (let j = 0; j < 8; j++) {
    // ggml stores a byte before it clamps, so negative values and those beyond 255 wrap as there.
    const scale = Math.min(MAX_SCALE, nearest(f32(perScale * scales[j]!)) & 255);
    const min = Math.min(MAX_SCALE, nearest(f32(perMin * mins[j]!)) & 255);
    packScale(out, j, { scale, min });
    requantizeQ4K(block, quants, {
      j,
      scale: f32(float16At(out, 0) * scale),
      min: f32(float16At(out, 2) * min),
    });
  }
  for (let i = 0; i < 128; i++) {
    const first = (i >> 5) * 64 + (i & 31);
    out[16 + i] = quants[first]! | (quants[first + 32]! << 4);
  }
}

/** Quantises sub-block j again by its rounded scale and minimum; with a scale of zero, q stays as fitted. */
function requantizeQ4K(
  block: Float32Array,
  quants: Uint8Array,
  { j, scale, min }: { readonly j: number; readonly scale: number; readonly min: number },
): void {
  if (scale === 0) return;
  for (let i = 32 * j; i < 32 * j + 32; i++) {
    quants[i] = clamp(nearest(f32(f32(block[i]! + min) / scale)), 0, 15);
  }
}

/** Packs a 6-bit scale and minimum into the 12 bytes from byte 4: the inverse of `packedScale` in ggml_types.ts. */
function packScale(
  out: Uint8Array,
  j: number,
  { scale, min }: { readonly scale: number; readonly min: number },
): void {
  if (j < 4) {
    out[4 + j] = scale;
    out[8 + j] = min;
    return;
  }
  out[8 + j] = (scale & 15) | ((min & 15) << 4);
  out[j] = out[j]! | ((scale >> 4) << 6);
  out[4 + j] = out[4 + j]! | ((min >> 4) << 6);
}

/** A line w = scale q + min. */
interface Line {
  readonly scale: number;
  readonly min: number;
}

/** Sums over weights w and their rounded q, each term weighted by its importance. */
interface Sums {
  readonly q: number;
  readonly qq: number;
  readonly wq: number;
}

/** Importances of the 32 weights being fitted, and q of the current candidate. */
const importances = new Float32Array(32);
const trial = new Uint8Array(32);

/**
 * make_qkx2_quants of ggml-quants.c for q in 0..15: of 22 candidate roundings, the one whose line has the least
 * weighted squared error. The importance of a weight is its magnitude plus the root mean square of all.
 * @param x - 32 weights
 * @param quants - receives q
 */
function fitLine(x: Float32Array, quants: Uint8Array): Line {
  const lowest = Math.min(0, minOf(x));
  const highest = maxOf(x);
  if (highest === lowest) {
    quants.fill(0);
    return { scale: 0, min: lowest };
  }
  const total = weigh(x);
  const inverse = f32(15 / f32(highest - lowest));
  roundAll(x, lowest, inverse);
  quants.set(trial);
  let best: Line = { scale: f32(1 / inverse), min: lowest };
  let leastError = errorOf(x, best, Number.POSITIVE_INFINITY);
  for (let step = 0; step <= 20; step++) {
    const levels = f32(f32(-1 + f32(STEP * step)) + 15);
    // Rounds from the best minimum so far, not from the lowest weight, so that the search refines itself.
    const line = leastSquares(roundAll(x, best.min, f32(levels / f32(highest - best.min))), total);
    if (line === null) continue;
    const error = errorOf(x, line, leastError);
    if (!(error < leastError)) continue;
    quants.set(trial);
    leastError = error;
    best = line;
  }
  return best;
}

/** Sets the importances. @returns their sum a, and the weighted sum w of the weights */
function weigh(x: Float32Array): { readonly a: number; readonly w: number } {
  let squares = 0;
  for (let i = 0; i < 32; i++) squares = f32(squares + f32(x[i]! * x[i]!));
  const rms = f32(Math.sqrt(f32(squares / 32)));
  let a = 0;
  let w = 0;
  for (let i = 0; i < 32; i++) {
    importances[i] = rms + Math.abs(x[i]!);
    a = f32(a + importances[i]!);
    w = f32(w + f32(importances[i]! * x[i]!));
  }
  return { a, w };
}

/** Rounds every weight to q = (w - lowest) * inverse in 0..15. */
function roundAll(x: Float32Array, lowest: number, inverse: number): Sums {
  let q = 0;
  let qq = 0;
  let wq = 0;
  for (let i = 0; i < 32; i++) {
    const value = clamp(nearest(f32(inverse * f32(x[i]! - lowest))), 0, 15);
    trial[i] = value;
    const weighted = f32(importances[i]! * value);
    q = f32(q + weighted);
    qq = f32(qq + f32(weighted * value));
    wq = f32(wq + f32(weighted * x[i]!));
  }
  return { q, qq, wq };
}

/** The weighted least-squares line through the points (q, w) with min <= 0; null when all q are equal. */
function leastSquares(
  { q, qq, wq }: Sums,
  { a, w }: { readonly a: number; readonly w: number },
): Line | null {
  const determinant = f32(f32(a * qq) - f32(q * q));
  if (!(determinant > 0)) return null;
  const min = f32(f32(f32(qq * w) - f32(q * wq)) / determinant);
  if (min > 0) return { scale: f32(wq / qq), min: 0 };
  return { scale: f32(f32(f32(a * wq) - f32(w * q)) / determinant), min };
}

/** Weighted squared error of `trial` on a line; stops early at `limit`. */
function errorOf(x: Float32Array, { scale, min }: Line, limit: number): number {
  let error = 0;
  for (let i = 0; i < 32 && error < limit; i++) {
    const difference = f32(f32(f32(scale * trial[i]!) + min) - x[i]!);
    error = f32(error + f32(importances[i]! * f32(difference * difference)));
  }
  return error;
}

/**
 * Q6_K: scale of every 16 weights by weighted least squares, then rounded to a signed byte.
 * @param values - whole blocks of 256 finite numbers
 */
export function quantizeQ6K(values: Float32Array): Uint8Array {
  return quantizeBlocks(values, Q6_K_BYTES, encodeQ6K);
}

/** Encodes one super-block; leaves `out` zero for a block of negligible weights. */
function encodeQ6K(block: Float32Array, quants: Uint8Array, out: Uint8Array): void {
  const scales = new Float32Array(16);
  let largest = 0;
  for (let j = 0; j < 16; j++) {
    const part = 16 * j;
    scales[j] = fitScale(block.subarray(part, part + 16), quants.subarray(part, part + 16));
    if (Math.abs(scales[j]!) > Math.abs(largest)) largest = scales[j]!;
  }
  if (Math.abs(largest) < NEGLIGIBLE) return;
  const inverse = f32(-128 / largest);
  writeHalf(out, 208, f32(1 / inverse));
  const d = float16At(out, 208);
  for (let j = 0; j < 16; j++) {
    const scale = Math.min(127, nearest(f32(inverse * scales[j]!)));
    out[192 + j] = scale;
    const product = f32(d * scale);
    for (let i = 16 * j; product !== 0 && i < 16 * j + 16; i++) {
      quants[i] = clamp(nearest(f32(block[i]! / product)), -32, 31) + 32;
    }
  }
  packQ6K(quants, out);
}

/** Packs 256 q in 0..63 into nibbles and bit pairs: see `dequantizeQ6K` in ggml_types.ts. */
function packQ6K(quants: Uint8Array, out: Uint8Array): void {
  for (let i = 0; i < 64; i++) {
    const [n, l] = [i >> 5, i & 31];
    const q = [0, 32, 64, 96].map((run) => quants[128 * n + run + l]!) as [number, number, number, number];
    out[64 * n + l] = (q[0] & 15) | ((q[2] & 15) << 4);
    out[64 * n + 32 + l] = (q[1] & 15) | ((q[3] & 15) << 4);
    out[128 + i] = (q[0] >> 4) | ((q[1] >> 4) << 2) | ((q[2] >> 4) << 4) | ((q[3] >> 4) << 6);
  }
}

/**
 * make_qx_quants of ggml-quants.c for q in -32..31, with the squared weights as importances: of 19 candidate roundings,
 * the one with the least weighted squared error under its best scale.
 * @param x - 16 weights
 * @param quants - receives q + 32
 * @returns the scale
 */
function fitScale(x: Float32Array, quants: Uint8Array): number {
  let largest = 0;
  for (let i = 0; i < 16; i++) if (Math.abs(x[i]!) > Math.abs(largest)) largest = x[i]!;
  quants.fill(0);
  if (Math.abs(largest) < NEGLIGIBLE) return 0;
  const centre = f32(-32 / largest);
  const first = sumRounded(x, centre);
  let inverse = centre;
  let scale = first.qq === 0 ? 0 : f32(first.wq / first.qq);
  let best = f32(scale * first.wq);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    const candidate = f32(-f32(32 + f32(STEP * step)) / largest);
    const { wq, qq } = sumRounded(x, candidate);
    if (!(qq > 0 && f32(wq * wq) > f32(best * qq))) continue;
    inverse = candidate;
    scale = f32(wq / qq);
    best = f32(scale * wq);
  }
  for (let i = 0; i < 16; i++) quants[i] = clamp(nearest(f32(inverse * x[i]!)), -32, 31) + 32;
  return scale;
}

/** Sums over 16 weights w rounded to q = w * inverse in -32..31, with importances w^2. */
function sumRounded(x: Float32Array, inverse: number): Omit<Sums, "q"> {
  let wq = 0;
  let qq = 0;
  for (let i = 0; i < 16; i++) {
    const value = clamp(nearest(f32(inverse * x[i]!)), -32, 31);
    const importance = f32(x[i]! * x[i]!);
    wq = f32(wq + f32(f32(importance * x[i]!) * value));
    qq = f32(qq + f32(f32(importance * value) * value));
  }
  return { qq, wq };
}

function minOf(x: Float32Array): number {
  let least = x[0]!;
  for (let i = 1; i < x.length; i++) if (x[i]! < least) least = x[i]!;
  return least;
}

function maxOf(x: Float32Array): number {
  let largest = x[0]!;
  for (let i = 1; i < x.length; i++) if (x[i]! > largest) largest = x[i]!;
  return largest;
}
