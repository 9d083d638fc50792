/** Rotary embeddings and their scalings for longer contexts, as JSON values. */

/** Rotary position embedding of one layer. */
export interface RopeSpec {
  /** Base of the geometric frequency sequence. */
  readonly theta: number;
  /** Channels of a head that are rotated; H unless the family rotates only a part. */
  readonly rotaryDim: number;
  readonly scaling: RopeScaling | null;
}

/** Scalings of the rotary frequencies for longer contexts, as in transformers' modeling_rope_utils.py. */
export type RopeScaling =
  | LinearScaling
  | Llama3Scaling
  | YarnScaling
  | LongropeScaling
  | DynamicScaling
  | ProportionalScaling;

/** Positions are divided. */
export interface LinearScaling {
  readonly type: "linear";
  readonly factor: number;
}

/** Llama 3.1's scaling: slow frequencies are divided, fast ones are not. */
export interface Llama3Scaling {
  readonly type: "llama3";
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

/** YaRN (arXiv 2309.00071): slow frequencies are divided, fast ones are not, and scores are sharpened. */
export interface YarnScaling {
  readonly type: "yarn";
  readonly factor: number;
  /** The longest sequence before scaling, tokens. */
  readonly originalMaxPositions: number;
  /** Factor on cosines and sines, so scores have its square. */
  readonly attentionFactor: number;
  /** Channels with at least this many turns within the original length keep their frequency. */
  readonly betaFast: number;
  /** Channels with at most this many turns have their frequency divided by the whole factor. */
  readonly betaSlow: number;
  /** The bounds of the channels in between are rounded to whole numbers. */
  readonly truncate: boolean;
  /**
   * beta, where queries at position p are multiplied by 1 + beta ln(1 + floor(p / original length)) (Ministral 3);
   * absent in families without.
   */
  readonly queryGrowth?: number;
  /** `mscale_all_dim`, by which scores of latent attention are sharpened further; absent elsewhere, and for 0. */
  readonly allDim?: number;
}

/** LongRoPE (arXiv 2402.13753): each frequency has two divisors, one for short and one for long sequences. */
export interface LongropeScaling {
  readonly type: "longrope";
  /** For sequences up to the original length, [rotaryDim / 2]. */
  readonly shortFactors: readonly number[];
  /** For all tokens of longer sequences, [rotaryDim / 2]. */
  readonly longFactors: readonly number[];
  readonly originalMaxPositions: number;
  /** Factor on cosines and sines, for sequences of any length. */
  readonly attentionFactor: number;
}

/** Dynamic NTK scaling: the base grows with the length of a sequence that is longer than the original one. */
export interface DynamicScaling {
  readonly type: "dynamic";
  readonly factor: number;
  readonly originalMaxPositions: number;
}

/** Only the fastest frequencies turn, those of the first channels of a head (Gemma 4). */
export interface ProportionalScaling {
  readonly type: "proportional";
  /** Pairs of channels that turn; the others have frequency 0. */
  readonly pairs: number;
  /** Positions are divided by it. */
  readonly factor: number;
}

/** Default settings of YaRN (arXiv 2309.00071). */
export const YARN_DEFAULTS: Pick<YarnScaling, "betaFast" | "betaSlow" | "truncate"> = {
  betaFast: 32,
  betaSlow: 1,
  truncate: true,
};

/** Default attention factor of YaRN for a factor on the length: 0.1 slope ln(factor) + 1. */
export function yarnAttentionFactor(factor: number, slope = 1): number {
  return factor <= 1 ? 1 : 0.1 * slope * Math.log(factor) + 1;
}

/** Default attention factor of LongRoPE for a factor on the original length: sqrt(1 + ln(factor) / ln(original)). */
export function longropeAttentionFactor(factor: number, originalMaxPositions: number): number {
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
}

/**
 * Default attention factor of a scaling; of YaRN with `allDim`, that where `mscale` is the same number.
 * @param maxPositions - the longest sequence, tokens
 */
export function usualAttentionFactor(scaling: YarnScaling | LongropeScaling, maxPositions: number): number {
  if (scaling.type === "yarn") return scaling.allDim === undefined ? yarnAttentionFactor(scaling.factor) : 1;
  const { originalMaxPositions: original } = scaling;
  return longropeAttentionFactor(maxPositions / original, original);
}
