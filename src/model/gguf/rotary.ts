/** Rotary embedding in GGUF files, both ways: Llama 3's factors on the frequencies, which stand for the setting. */
import { clamp } from "../../tensor/statistics.ts";
import type { Llama3Scaling, ProportionalScaling, RopeScaling, RopeSpec } from "../rope_spec.ts";

/** The tensor that holds Llama 3's factors, and in layers of two kinds those of pairs that turn or do not. */
export const LLAMA3_FACTORS = "rope_freqs.weight";
/** The tensors that hold LongRoPE's. */
export const LONGROPE_FACTORS = {
  long: "rope_factors_long.weight",
  short: "rope_factors_short.weight",
} as const;

/** Settings that the published Llama 3.1, 3.2 and 3.3 models share (their config.json). */
const LOW_FREQUENCY_FACTOR = 1;
const HIGH_FREQUENCY_FACTOR = 4;
/** Original length in files without the key. */
const ORIGINAL_MAX_POSITIONS = 8192;
/** Stored factors are float32 results of float32 arithmetic. */
const FACTOR_TOLERANCE = 1e-4;

/** Whether a scaling has the published settings, with which it can be recovered from its factors. */
export function isPublishedScaling(scaling: Llama3Scaling): boolean {
  return scaling.lowFreqFactor === LOW_FREQUENCY_FACTOR && scaling.highFreqFactor === HIGH_FREQUENCY_FACTOR;
}

/**
 * The divisors of rotary frequencies under Llama 3's scaling, as conversion/llama.py of llama.cpp computes them.
 * @returns shape [rotaryDim / 2]
 */
export function llama3Factors(rope: RopeSpec, scaling: Llama3Scaling): Float32Array {
  return Float32Array.from({ length: rope.rotaryDim / 2 }, (_, i) => {
    const kept = keptShare(rope, scaling, i);
    return 1 / ((1 - kept) / scaling.factor + kept);
  });
}

/**
 * The scaling with these factors, null if all are 1, undefined if they are none of Llama 3's. Inverse of
 * `_compute_llama3_parameters` in transformers' modeling_rope_utils.py.
 * @param factors - divisors of rotary frequencies, shape [rotaryDim / 2]
 */
export function llama3Scaling(
  factors: Float32Array,
  rope: RopeSpec,
  originalMaxPositions: number = ORIGINAL_MAX_POSITIONS,
): RopeScaling | null | undefined {
  if (factors.length !== rope.rotaryDim / 2) return undefined;
  if (factors.every((value) => value === 1)) return null;
  const settings = {
    type: "llama3",
    lowFreqFactor: LOW_FREQUENCY_FACTOR,
    highFreqFactor: HIGH_FREQUENCY_FACTOR,
    originalMaxPositions,
  } as const;
  const slowest = factors.indexOf(factors.reduce((most, value) => Math.max(most, value), 0));
  const factor = wholeFactor(factors[slowest] ?? Number.NaN, keptShare(rope, settings, slowest));
  const scaling: Llama3Scaling = { ...settings, factor };
  const expected = llama3Factors(rope, scaling);
  const matches = factors.every((value, i) => Math.abs(value / expected[i]! - 1) < FACTOR_TOLERANCE);
  return matches && Number.isFinite(factor) ? scaling : undefined;
}

/** Divisor of the frequencies of pairs that do not turn (`generate_extra_tensors` of conversion/gemma.py). */
const STILL = 1e30;
/** Divisors from here on let no angle of any position differ from 0 in float32. */
const LEAST_STILL = 1e20;

/** Divisors that say which pairs of channels turn: all, but for proportional scaling. @returns shape [headDim / 2] */
export function proportionalFactors(scaling: RopeScaling | null, headDim: number): Float32Array {
  const pairs = scaling?.type === "proportional" ? scaling.pairs : headDim / 2;
  return new Float32Array(headDim / 2).fill(1).fill(STILL, pairs);
}

/**
 * Inverse of `proportionalFactors`: the scaling with these divisors, null if all pairs turn, undefined if they are none
 * of this kind.
 * @param factors - of at least the pairs that a rotation has
 */
export function proportionalScaling(
  factors: Float32Array,
  { rotaryDim }: RopeSpec,
): ProportionalScaling | null | undefined {
  const used = factors.subarray(0, rotaryDim / 2);
  const turning = used.findIndex((value) => value !== 1);
  if (used.length < rotaryDim / 2) return undefined;
  if (turning < 0) return null;
  const isStill = used.subarray(turning).every((value) => value >= LEAST_STILL);
  return isStill && turning > 0 ? { type: "proportional", pairs: turning, factor: 1 } : undefined;
}

/** The factor of a scaling from one of its divisors and the share of the frequency that this one keeps. */
function wholeFactor(divisor: number, kept: number): number {
  if (kept === 0) return decimal(divisor);
  // The share magnifies the divisor's rounding.
  return Number(((1 - kept) / (1 / divisor - kept)).toPrecision(5));
}

/** 1 where a frequency stays as it is, 0 where it is divided by the whole factor. */
function keptShare(
  { theta, rotaryDim }: RopeSpec,
  scaling: Omit<Llama3Scaling, "factor">,
  i: number,
): number {
  const { lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  const wavelength = 2 * Math.PI * theta ** ((2 * i) / rotaryDim);
  const blend = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return clamp(blend, 0, 1);
}

/** The short decimal number a float32 was made from, 1e-5 for 9.999999747378752e-6. */
export function decimal(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === Math.fround(value) ? short : value;
}
