/** Summary of repeated timings of dense and pruned models, compared with the ratios of their parameter counts. */

import { parameterCount } from "../src/model/parameter_counts.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { weightsOf } from "../src/model/weights.ts";
import { type Spread, spread } from "../src/tensor/statistics.ts";
import { elementCount } from "../src/tensor/tensor.ts";
import { lineThrough } from "./line.ts";

/** The timings of one model in one runtime and type. */
export interface Series {
  readonly model: string;
  readonly spec: ModelSpec;
  /** Tokens per second in every round: of the prompt, decoded after a few tokens, and decoded after the prompt. */
  readonly prompt: readonly number[];
  readonly decode: readonly number[];
  readonly late: readonly number[];
}

/** Measured and promised gain over the dense model. */
export interface Gain {
  /** Tokens per second. */
  readonly speed: Spread;
  /** Speed relative to the dense model in the same round. */
  readonly speedUp: Spread;
  /** Ratio of the parameters that take part, dense to pruned. */
  readonly promised: number;
  /** Median speed-up divided by the promised one. */
  readonly kept: number;
}

/** Gains of one model. */
export interface Summary {
  readonly model: string;
  readonly prompt: Gain;
  readonly decode: Gain;
  readonly late: Gain;
}

/**
 * Compares every series with the first one, the dense model's, round by round.
 *
 * Decoding a token reads every matrix once, the output matrix too. So the promised gain is the ratio of all parameters,
 * except an untied embedding matrix, of which one row is read. Tokens of a prompt go through the layers, and only the
 * last one through the head, so the promised gain is the ratio of the layers' parameters.
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
    .reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

/** Number of parameters that decoding one token reads. */
function readParameters(spec: ModelSpec): number {
  return parameterCount(spec) - (spec.tiedEmbeddings ? 0 : spec.vocabSize * spec.hiddenSize);
}

/** Size of a model, and its decoding speeds after a short and a long past. */
export interface DecodingTimes {
  readonly bytes: number;
  readonly early: TokenRate;
  readonly late: TokenRate;
}

/** Decoding speed after a past. */
export interface TokenRate {
  /** Mean number of past tokens. */
  readonly past: number;
  readonly tokensPerSecond: number;
}

/** Seconds of a decoded token: fixed + perByte * bytes + perPast * past tokens; every model has its own perPast. */
export interface DecodingCost {
  readonly fixed: number;
  readonly perByte: number;
  /** One for each model. */
  readonly perPast: readonly number[];
  /** Largest relative distance of a model from the line, at an empty past. */
  readonly worst: number;
  /** Speed-up of the smallest over the largest model on the line, at an empty past. */
  readonly gain: number;
}

/** Cost of the past from the two speeds of each model; then a line through the remaining times over model size. */
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
