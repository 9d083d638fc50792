/**
 * The interface of importance metrics. Implementations are one file each beside it; registry.ts lists them. A channel's
 * score is >= 0 and larger the more the model needs the channel; a unit's score is the sum over its channels.
 */
import type { UnitGateStats } from "../calibrate/gate_stats.ts";
import type { ChannelStats } from "../calibrate/stats.ts";
import type { Space } from "../model/spaces.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Input of a metric besides weights: none, activation statistics, or gradients of the loss by gates. */
export type MetricInput = "weights" | "activations" | "gradients";

/** Weights around a space: the projections that write its channels, or the one that reads them. */
export type WeightSide = "input" | "output";

/** One space of a model with the inputs of a metric. */
export interface ScoringView {
  readonly space: Space;
  /** down_proj or o_proj weight [C, units * unitChannels]; absent unless the metric reads `output`. */
  readonly outputWeight?: Tensor;
  /** gate, up: [F, C] each; or q: [K*g*H, C], k and v: [K*H, C]; empty unless the metric reads `input`. */
  readonly inputWeights: readonly Tensor[];
  /** Statistics of one set, or pooled over sets; absent unless the metric has input `activations`. */
  readonly stats?: SetChannelStats;
  /** Gate gradients of one set, or pooled over sets; absent unless the metric has input `gradients`. */
  readonly gates?: SetGateStats;
  /** For metrics with a random part. */
  readonly seed: number;
}

/** Channel sums of one space with the numbers of tokens and sequences they were taken over. */
export type SetChannelStats = ChannelStats & { readonly tokens: number; readonly sequences: number };

/** Moments of unit gradients with the number of windows they were summed over. */
export type SetGateStats = UnitGateStats & { readonly windows: number };

/** An importance metric. */
export interface Metric {
  /** Name on the command line. */
  readonly name: string;
  /** What it measures, in one line of help. */
  readonly summary: string;
  readonly input: MetricInput;
  /** The allocation it was published with, the default without GPrune. */
  readonly allocation: "global" | "uniform";
  /** The weights that `score` uses; no others are read from the checkpoint. */
  readonly reads: readonly WeightSide[];
  /** @returns scores, shape [channels] */
  score(view: ScoringView): Float64Array;
}
