/**
 * Rotary frequencies and their scalings for longer contexts.
 * Formulas as in transformers' modeling_rope_utils.py (`default`, `linear`, `llama3`, `yarn`, `longrope`, `dynamic`,
 * `proportional`).
 */

import { ropesOf } from "../../model/rope_layers.ts";
import type {
  DynamicScaling,
  Llama3Scaling,
  LongropeScaling,
  RopeSpec,
  YarnScaling,
} from "../../model/rope_spec.ts";
import type { ModelSpec } from "../../model/spec.ts";

/**
 * Angle per position of every rotated channel pair, float32, shape [rotaryDim / 2].
 * @param tokens - length of the whole sequence, which some scalings depend on
 */
export function inverseFrequencies(rope: RopeSpec, tokens: number): Float32Array {
  const { theta, rotaryDim, scaling } = rope;
  const plain = Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** ((-2 * i) / rotaryDim));
  switch (scaling?.type) {
    case undefined:
      return Float32Array.from(plain);
    case "linear":
      return Float32Array.from(plain, (frequency) => frequency / scaling.factor);
    case "llama3":
      return Float32Array.from(plain, (frequency) => llama3Frequency(frequency, scaling));
    case "yarn":
      return yarnFrequencies(plain, rope, scaling);
    case "longrope":
      return dividedFrequencies(plain, isLong(scaling, tokens) ? scaling.longFactors : scaling.shortFactors);
    case "proportional":
      return Float32Array.from(plain, (frequency, i) => (i < scaling.pairs ? frequency / scaling.factor : 0));
    case "dynamic": {
      const stretch = dynamicStretch(scaling, tokens);
      return dynamicExponents(rope).map((exponent, i) => plain[i]! * stretch ** exponent);
    }
  }
}

/** 1 + the factor times the relative excess of a sequence over the original length; 1 up to that length. */
function dynamicStretch({ factor, originalMaxPositions }: DynamicScaling, tokens: number): number {
  return 1 + factor * Math.max(0, tokens / originalMaxPositions - 1);
}

/**
 * Exponents e of a sequence's stretch s, [rotaryDim / 2]: dynamic scaling multiplies frequencies by s^e, since it
 * multiplies the base by s^(R / (R - 2)) for R rotated channels.
 */
export function dynamicExponents({ rotaryDim }: RopeSpec): Float32Array {
  return Float32Array.from({ length: rotaryDim / 2 }, (_, i) => (-2 * i) / (rotaryDim - 2));
}

/** Factor on the cosines and sines of the rotation angles. */
export function attentionFactor({ scaling }: RopeSpec): number {
  return scaling?.type === "yarn" || scaling?.type === "longrope" ? scaling.attentionFactor : 1;
}

/** beta and original length of queries that grow with their position (`YarnScaling`); null where they do not. */
export function queryGrowth({
  scaling,
}: RopeSpec): { readonly beta: number; readonly original: number } | null {
  if (scaling?.type !== "yarn" || !scaling.queryGrowth) return null;
  return { beta: scaling.queryGrowth, original: scaling.originalMaxPositions };
}

/** Whether sequences of two lengths (in tokens) are rotated by the same frequencies. */
export function hasSameFrequencies(
  spec: Pick<ModelSpec, "layers">,
  [a, b]: readonly [number, number],
): boolean {
  return ropesOf(spec).every(({ scaling }) => {
    if (scaling?.type === "longrope") return isLong(scaling, a) === isLong(scaling, b);
    return scaling?.type !== "dynamic" || dynamicStretch(scaling, a) === dynamicStretch(scaling, b);
  });
}

function isLong({ originalMaxPositions }: LongropeScaling, tokens: number): boolean {
  return tokens > originalMaxPositions;
}

function dividedFrequencies(plain: readonly number[], factors: readonly number[]): Float32Array {
  return Float32Array.from(plain, (frequency, i) => frequency / factors[i]!);
}

function llama3Frequency(
  frequency: number,
  { factor, lowFreqFactor, highFreqFactor, originalMaxPositions }: Llama3Scaling,
): number {
  const turns = (originalMaxPositions * frequency) / (2 * Math.PI);
  const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  const blend = Math.min(1, Math.max(0, smooth));
  return (blend + (1 - blend) / factor) * frequency;
}

/** Channel pairs up to `low` keep their frequency, those from `high` on have it divided by the factor. */
function yarnFrequencies(
  plain: readonly number[],
  { theta, rotaryDim }: RopeSpec,
  { factor, originalMaxPositions, betaFast, betaSlow, truncate }: YarnScaling,
): Float32Array {
  /** The pair that makes `turns` turns within the original length, a fraction. */
  const pairOf = (turns: number): number =>
    (rotaryDim * Math.log(originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [fast, slow] = [pairOf(betaFast), pairOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const end = Math.min(truncate ? Math.ceil(slow) : slow, rotaryDim - 1);
  const high = end === low ? end + 0.001 : end;
  return Float32Array.from(plain, (frequency, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return (ramp / factor + (1 - ramp)) * frequency;
  });
}
