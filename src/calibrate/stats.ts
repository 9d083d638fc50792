/**
 * Activation statistics of one calibration set: for every channel at the input of an output projection (down_proj,
 * o_proj) a few sums in float64. Sums merge, so a set can be split over time, processes or machines.
 */
import { internalError } from "../errors.ts";
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

/** Mean activation of every channel of a space, [channels]. */
export function channelMeans(stats: CalibrationStats, space: Space): Float64Array {
  const sums = stats.spaces.get(space.id)?.sum;
  const expected = channelCount(space);
  if (sums?.length !== expected) {
    throw internalError(`statistics of ${space.id}: expected ${expected} channels, got ${sums?.length}`);
  }
  return sums.map((sum) => sum / stats.tokens);
}

/** Statistics of two disjoint lots of sequences taken together. Neither argument is changed. */
export function mergeStats(a: CalibrationStats, b: CalibrationStats): CalibrationStats {
  return combine([a, b], { tokens: [1, 1], sequences: [1, 1] });
}

/**
 * Several sets as one, each counting by its weight and not by its size: what is summed over tokens is scaled by w_d * T / T_d
 * for set d, where T is the number of tokens of all sets, T_d its own, and the weights are normalised to sum 1; what is summed
 * over sequences in the same way by their numbers.
 * @param weights - positive, one per set
 */
export function poolStats(sets: readonly CalibrationStats[], weights: readonly number[]): CalibrationStats {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const scales = (count: keyof Factors): readonly number[] => {
    const all = sets.reduce((sum, set) => sum + set[count], 0);
    return sets.map((set, d) => ((weights[d]! / total) * all) / set[count]);
  };
  return combine(sets, { tokens: scales("tokens"), sequences: scales("sequences") });
}

/** What every set's sums are multiplied by, those over tokens and those over sequences. */
interface Factors {
  readonly tokens: readonly number[];
  readonly sequences: readonly number[];
}

function combine(sets: readonly CalibrationStats[], factors: Factors): CalibrationStats {
  const first = sets[0];
  if (first === undefined) throw internalError("no statistics to combine");
  const spaces = new Map<string, ChannelStats>();
  for (const [id, { sum }] of first.spaces) {
    const parts = sets.map((set) => channelsOf(set, id));
    spaces.set(id, combineChannels(parts, factors, sum.length));
  }
  const scaled = (count: keyof Factors): number =>
    sets.reduce((total, set, d) => total + set[count] * factors[count][d]!, 0);
  return { tokens: scaled("tokens"), sequences: scaled("sequences"), spaces };
}

function combineChannels(parts: readonly ChannelStats[], factors: Factors, channels: number): ChannelStats {
  const result = emptyChannelStats(channels);
  for (const key of CHANNEL_SUMS) {
    const own = key === "sumMeanAbsSquared" ? factors.sequences : factors.tokens;
    for (const [d, part] of parts.entries()) {
      const [sums, added, factor] = [result[key], part[key], own[d]!];
      if (added.length !== channels) throw internalError("statistics of models with different widths");
      for (let j = 0; j < channels; j++) sums[j]! += added[j]! * factor;
    }
  }
  return result;
}

function channelsOf(stats: CalibrationStats, id: string): ChannelStats {
  const channels = stats.spaces.get(id);
  if (channels === undefined) throw internalError(`no statistics of space ${id}`);
  return channels;
}
