/** What repeated timings of dense and pruned models say, and what the numbers of their parameters promise. */

import { parameterCount, weightsOf } from "../src/model/spaces.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { type Spread, spread } from "../src/tensor/statistics.ts";
import { lineThrough } from "./line.ts";

/** The timings of one model in one runtime and type. */
export interface Series {
  readonly model: string;
  readonly spec: ModelSpec;
  /** Tokens per second in every round. */
  readonly prompt: readonly number[];
  readonly decode: readonly number[];
}

/** Measured and promised gain over the dense model. */
export interface Gain {
  /** Tokens per second. */
  readonly speed: Spread;
  /** How many times as fast as the dense model in the same round. */
  readonly speedUp: Spread;
  /** How many times fewer parameters take part. */
  readonly promised: number;
  /** Median speed-up over what was promised. */
  readonly kept: number;
}

export interface Summary {
  readonly model: string;
  readonly prompt: Gain;
  readonly decode: Gain;
}

/**
 * Holds every series against the first one, the dense model's, round by round.
 *
 * A decoded token reads every matrix once, the vocabulary's too: promised is the ratio of all parameters, but for an
 * embedding matrix that is not the output matrix, of which one row is read. Tokens of a prompt go through the layers, and
 * the last one alone through the vocabulary: promised is the ratio of the layers' parameters.
 */
export function summarise(series: readonly Series[]): readonly Summary[] {
  const dense = series[0]!;
  return series.map(({ model, spec, prompt, decode }) => ({
    model,
    prompt: gain(prompt, dense.prompt, layerParameters(dense.spec) / layerParameters(spec)),
    decode: gain(decode, dense.decode, readParameters(dense.spec) / readParameters(spec)),
  }));
}

function gain(speeds: readonly number[], dense: readonly number[], promised: number): Gain {
  const speedUp = spread(speeds.map((speed, round) => speed / dense[round]!));
  return { speed: spread(speeds), speedUp, promised, kept: speedUp.median / promised };
}

function layerParameters(spec: ModelSpec): number {
  return weightsOf(spec)
    .filter(({ name }) => name.startsWith("model.layers."))
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

function readParameters(spec: ModelSpec): number {
  return parameterCount(spec) - (spec.tiedEmbeddings ? 0 : spec.vocabSize * spec.hiddenSize);
}

/** Seconds of a decoded token: fixed + perByte * bytes. */
export interface DecodingCost {
  readonly fixed: number;
  readonly perByte: number;
  /** Largest relative distance of a model from the line. */
  readonly worst: number;
  /** How many times as fast as the largest model the line says the smallest is. */
  readonly gain: number;
}

/** The line through models of different sizes. */
export function decodingCost(
  models: readonly { readonly bytes: number; readonly tokensPerSecond: number }[],
): DecodingCost {
  const points = models.map(({ bytes, tokensPerSecond }) => ({ x: bytes, y: 1 / tokensPerSecond }));
  const { intercept: fixed, slope: perByte, worst } = lineThrough(points);
  const sizes = models.map(({ bytes }) => bytes);
  const seconds = (bytes: number): number => fixed + perByte * bytes;
  return { fixed, perByte, worst, gain: seconds(Math.max(...sizes)) / seconds(Math.min(...sizes)) };
}
