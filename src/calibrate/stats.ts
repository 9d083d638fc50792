/**
 * Activation statistics of one calibration set: for every channel at the input of an output projection (down_proj,
 * o_proj) a few sums in float64. Sums merge, so a set can be split over time, processes or machines.
 */
import { badArgument, requireSome, requireWeights } from "../base/arguments.ts";
import { GpruneError } from "../errors.ts";
import { channelCount, type Space } from "../model/spaces.ts";

/** Sums over the tokens of a set, one value per channel of a space; all arrays have shape [channels]. */
export interface ChannelStats {
  /** sum of x */
  readonly sum: Float64Array;
  /** sum of x^2 */
  readonly sumSquares: Float64Array;
  /** sum over sequences of (mean over the sequence's tokens of |x|)^2, Minitron's statistic */
  readonly sumMeanAbsSquared: Float64Array;
}

/** Statistics of one set over all spaces. */
export interface CalibrationStats {
  readonly tokens: number;
  readonly sequences: number;
  /** Keyed by space id. */
  readonly spaces: ReadonlyMap<string, ChannelStats>;
}

/** Names of the sums, in storage order. */
export const CHANNEL_SUMS = ["sum", "sumSquares", "sumMeanAbsSquared"] as const;

/** Bytes of a channel's sums. */
export const CHANNEL_STATS_BYTES: number = 8 * CHANNEL_SUMS.length;

/** Zero sums for `channels` channels. */
export function emptyChannelStats(channels: number): ChannelStats {
  const zero = (): Float64Array => new Float64Array(channels);
  return { sum: zero(), sumSquares: zero(), sumMeanAbsSquared: zero() };
}

/** The sums of one space. @throws GpruneError BAD_ARGUMENT for statistics of another model, or of no tokens */
export function sumsOf(stats: CalibrationStats, space: Space): ChannelStats {
  const sums = stats.spaces.get(space.id);
  const expected = channelCount(space);
  if (sums?.sum.length !== expected) {
    const got = sums === undefined ? "none" : sums.sum.length;
    const message = `statistics of ${space.id}: expected ${expected} channels, got ${got}`;
    throw new GpruneError("BAD_ARGUMENT", message, { hint: "Calibrate on the model that is being pruned." });
  }
  requireTokens(stats);
  return sums;
}

function requireTokens({ tokens, sequences }: CalibrationStats): void {
  if (!(tokens > 0 && sequences > 0))
    throw badArgument("calibration", "at least one window of tokens", "none");
}

/** Mean activation of every channel of a space, [channels]. @throws GpruneError as `sumsOf` */
export function channelMeans(stats: CalibrationStats, space: Space): Float64Array {
  return sumsOf(stats, space).sum.map((sum) => sum / stats.tokens);
}

/**
 * Merges the statistics of two disjoint lots of sequences. Neither argument is changed.
 * @throws GpruneError BAD_ARGUMENT for statistics of different models
 */
export function mergeStats(a: CalibrationStats, b: CalibrationStats): CalibrationStats {
  return combine([a, b], { tokens: [1, 1], sequences: [1, 1] });
}

/**
 * Pools several sets into one, each counting by its weight and not by its size: sums over tokens are scaled by
 * w_d * T / T_d for set d, where T is the number of tokens of all sets, T_d that of set d, and the weights are
 * normalised to sum 1; sums over sequences likewise by numbers of sequences.
 * @param weights - positive, one per set
 * @throws GpruneError BAD_ARGUMENT for other weights, no sets, a set of no tokens, or statistics of different models
 */
export function poolStats(sets: readonly CalibrationStats[], weights: readonly number[]): CalibrationStats {
  requireSome("statistics", sets);
  requireWeights(weights, sets.length);
  for (const set of sets) requireTokens(set);
  const totalWeight = weights.reduce((sum, weight) => sum + weight, 0);
  const scales = (count: keyof Factors): readonly number[] => {
    const total = sets.reduce((sum, set) => sum + set[count], 0);
    return sets.map((set, d) => ((weights[d]! / totalWeight) * total) / set[count]);
  };
  return combine(sets, { tokens: scales("tokens"), sequences: scales("sequences") });
}

/** Factors of every set's sums, those over tokens and those over sequences. */
interface Factors {
  readonly tokens: readonly number[];
  readonly sequences: readonly number[];
}

function combine(sets: readonly CalibrationStats[], factors: Factors): CalibrationStats {
  const spaces = new Map<string, ChannelStats>();
  for (const id of new Set(sets.flatMap((set) => [...set.spaces.keys()]))) {
    const parts = sets.map((set) => set.spaces.get(id) ?? emptyChannelStats(0));
    const widths = [...new Set(parts.map(({ sum }) => sum.length))];
    if (widths.length > 1)
      throw badArgument(`statistics of ${id}`, "those of one model", `${widths.join(" and ")} channels`);
    spaces.set(id, combineChannels(parts, factors, widths[0]!));
  }
  const scaled = (count: keyof Factors): number =>
    sets.reduce((total, set, d) => total + set[count] * factors[count][d]!, 0);
  return { tokens: scaled("tokens"), sequences: scaled("sequences"), spaces };
}

function combineChannels(parts: readonly ChannelStats[], factors: Factors, channels: number): ChannelStats {
  const result = emptyChannelStats(channels);
  for (const key of CHANNEL_SUMS) {
    const scales = key === "sumMeanAbsSquared" ? factors.sequences : factors.tokens;
    for (const [d, part] of parts.entries()) {
      const [sums, added, factor] = [result[key], part[key], scales[d]!];
      for (let j = 0; j < channels; j++) sums[j]! += added[j]! * factor;
    }
  }
  return result;
}
