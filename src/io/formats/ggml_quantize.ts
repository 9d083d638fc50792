/**
 * Quantisation to Q8_0 and Q4_0, blocks of 32 weights with one scale. Gives the bytes of `quantize_row_q8_0_ref` and
 * `quantize_row_q4_0_ref` in ggml-quants.c (ggml-org/llama.cpp): every operation is rounded to float32 as there.
 * Layouts are described at the dequantisers in ggml_types.ts.
 */
import { float16Pattern } from "../../tensor/dtype.ts";

const f32 = Math.fround;

const BLOCK = 32;
const Q8_0_BYTES = 34;
const Q4_0_BYTES = 18;

/**
 * Q8_0: d = max |w| / 127, q = w / d rounded to the nearest integer.
 * @param values - whole blocks of 32 finite numbers
 */
export function quantizeQ8(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array((values.length / BLOCK) * Q8_0_BYTES);
  for (let o = 0, at = 0; o < values.length; o += BLOCK, at += Q8_0_BYTES) {
    const d = f32(Math.abs(peak(values, o)) / 127);
    const inverse = d === 0 ? 0 : f32(1 / d);
    writeHalf(bytes, at, d);
    for (let i = 0; i < BLOCK; i++) bytes[at + 2 + i] = roundHalfAway(f32(values[o + i]! * inverse));
  }
  return bytes;
}

/**
 * Q4_0: d = w / -8 for the w of largest magnitude, which is then represented exactly; q = w / d + 8 rounded to 0..15.
 * @param values - whole blocks of 32 finite numbers
 */
export function quantizeQ4(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array((values.length / BLOCK) * Q4_0_BYTES);
  for (let o = 0, at = 0; o < values.length; o += BLOCK, at += Q4_0_BYTES) {
    const d = f32(peak(values, o) / -8);
    const inverse = d === 0 ? 0 : f32(1 / d);
    const quant = (value: number): number => Math.min(15, f32(f32(value * inverse) + 8.5) | 0);
    writeHalf(bytes, at, d);
    for (let i = 0; i < BLOCK / 2; i++) {
      bytes[at + 2 + i] = quant(values[o + i]!) | (quant(values[o + i + 16]!) << 4);
    }
  }
  return bytes;
}

/** Stores the float16 nearest to a float32. */
export function writeHalf(bytes: Uint8Array, at: number, value: number): void {
  const pattern = float16Pattern(value);
  bytes[at] = pattern & 255;
  bytes[at + 1] = pattern >> 8;
}

/** The first value of largest magnitude, with its sign, of the block that starts at `o`. */
function peak(values: Float32Array, o: number): number {
  let largest = 0;
  for (let i = 0; i < BLOCK; i++) {
    const value = values[o + i]!;
    if (Math.abs(value) > Math.abs(largest)) largest = value;
  }
  return largest;
}

/** roundf of C: rounds halves away from zero. */
function roundHalfAway(value: number): number {
  const whole = Math.trunc(value);
  return Math.abs(value - whole) >= 0.5 ? whole + Math.sign(value) : whole;
}
