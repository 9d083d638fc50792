/** What repeated timings of dense and pruned models say, and what the numbers of their parameters promise. */

import { parameterCount, weightsOf } from "../src/model/spaces.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { type Spread, spread } from "../src/tensor/statistics.ts";
import { lineThrough } from "./line.ts";

/** The timings of one model in one runtime and type. */
export interface Series {
  readonly model: string;
  readonly spec: ModelSpec;
  /** Tokens per second in every round: of a prompt, decoded after a few tokens, and after the prompt. */
  readonly prompt: readonly number[];
  readonly decode: readonly number[];
  readonly late: readonly number[];
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
  readonly late: Gain;
}

/**
 * Holds every series against the first one, the dense model's, round by round.
 *
 * A decoded token reads every matrix once, the vocabulary's too: promised is the ratio of all parameters, but for an
 * embedding matrix that is not the output matrix, of which one row is read. Tokens of a prompt go through the layers,
 * and the last one alone through the vocabulary: promised is the ratio of the layers' parameters.
 */
export function summarise(series: readonly Series[]): readonly Summary[] {
  const dense = series[0]!;
  return series.map(({ model, spec, prompt, decode, late }) => {
    const read = readParameters(dense.spec) / readParameters(spec);
    return {
      model,
      prompt: gain(prompt, dense.prompt, layerParameters(dense.spec) / layerParameters(spec)),
      decode: gain(decode, dense.decode, read),
      late: gain(late, dense.late, read),
    };
  });
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

/** What was measured of a model: its size, and the tokens per second decoded after two numbers of tokens. */
export interface DecodingTimes {
  readonly bytes: number;
  readonly early: TokenRate;
  readonly late: TokenRate;
}

export interface TokenRate {
  /** Tokens of the past, on average. */
  readonly past: number;
  readonly tokensPerSecond: number;
}

/** Seconds of a decoded token: fixed + perByte * bytes + perPast * tokens of the past; the last is each model's own. */
export interface DecodingCost {
  readonly fixed: number;
  readonly perByte: number;
  /** By model. */
  readonly perPast: readonly number[];
  /** Largest relative distance of a model from the line, without a past. */
  readonly worst: number;
  /** How many times as fast as the largest model the line says the smallest is, without a past. */
  readonly gain: number;
}

/** Past tokens' share from two rates, and through what is left of models of different sizes a line. */
export function decodingCost(models: readonly DecodingTimes[]): DecodingCost {
  const perPast = models.map(
    ({ early, late }) => (1 / late.tokensPerSecond - 1 / early.tokensPerSecond) / (late.past - early.past),
  );
  const points = models.map(({ bytes, early }, index) => {
    return { x: bytes, y: 1 / early.tokensPerSecond - perPast[index]! * early.past };
  });
  const { intercept: fixed, slope: perByte, worst } = lineThrough(points);
  const sizes = models.map(({ bytes }) => bytes);
  const seconds = (bytes: number): number => fixed + perByte * bytes;
  const gain = seconds(Math.max(...sizes)) / seconds(Math.min(...sizes));
  return { fixed, perByte, perPast, worst, gain };
}
