/**
 * The sums that metrics combine: moments of a channel, norms of a column of the output projection, norms of a unit's
 * rows in an input projection. Float64 throughout.
 */

import { getOrMake } from "../base/map_values.ts";
import { internalError } from "../errors.ts";
import { channelCount, type Space } from "../model/spaces.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ScoringView, SetChannelStats, SetGateStats } from "./metric.ts";

/** Statistics in the view of a metric with input `activations`. */
export function statsOf({ stats, space }: ScoringView): SetChannelStats {
  if (stats === undefined) throw internalError(`no statistics in the view of ${space.id}`);
  return stats;
}

/** Gate gradients in the view of a metric with input `gradients`. */
export function gatesOf({ gates, space }: ScoringView): SetGateStats {
  if (gates === undefined) throw internalError(`no gradients in the view of ${space.id}`);
  return gates;
}

/** Output projection in the view of a metric that reads it, [C, channels]. */
export function outputWeightOf({ outputWeight, space }: ScoringView): Tensor {
  if (outputWeight === undefined) throw internalError(`no output projection in the view of ${space.id}`);
  return outputWeight;
}

/** E x^2 of every channel, [channels]. */
export function meanSquares({ sumSquares, tokens }: SetChannelStats): Float64Array {
  return sumSquares.map((sum) => sum / tokens);
}

/**
 * Var x = E x^2 - (E x)^2 of every channel, [channels]. Negative differences, from cancellation, become 0; NaN stays
 * NaN, so that bad statistics are found and not hidden.
 */
export function variances({ sum, sumSquares, tokens }: SetChannelStats): Float64Array {
  return sumSquares.map((squares, j) => Math.max(0, squares / tokens - (sum[j]! / tokens) ** 2));
}

/** Column sums by weight and by term, kept while the weight is in use: many sets score the same weight. */
const sumsOfWeights = new WeakMap<Tensor, Map<(value: number) => number, Float64Array>>();

/** sum over rows i of term(W_ij) for every column j of a [rows, columns] weight, [columns]; cached, so read only. */
export function columnSums(weight: Tensor, term: (value: number) => number): Float64Array {
  const sums = getOrMake(sumsOfWeights, weight, () => new Map<(value: number) => number, Float64Array>());
  return getOrMake(sums, term, () => sumColumns(weight, term));
}

function sumColumns(weight: Tensor, term: (value: number) => number): Float64Array {
  const [rows = 0, columns = 0] = weight.shape;
  const sums = new Float64Array(columns);
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) sums[j]! += term(weight.data[at]!);
  }
  return sums;
}

/** sum over the rows of every unit of term(W_ij), for an input projection [units * rows of a unit, C], [units]. */
export function unitRowSums(
  weight: Tensor,
  { units, term }: { readonly units: number; readonly term: (value: number) => number },
): Float64Array {
  const sums = new Float64Array(units);
  const run = weight.data.length / units;
  for (let unit = 0, at = 0; unit < units; unit++) {
    for (const end = at + run; at < end; at++) sums[unit]! += term(weight.data[at]!);
  }
  return sums;
}

/** Channel scores of a metric that scores units: each unit's value in equal parts, which add up to it. */
export function spreadOverChannels(values: Float64Array, space: Space): Float64Array {
  const { unitChannels } = space;
  const channels = new Float64Array(channelCount(space));
  for (let j = 0; j < channels.length; j++)
    channels[j] = values[Math.floor(j / unitChannels)]! / unitChannels;
  return channels;
}

/** Elementwise product of arrays of one length. */
export function product(first: Float64Array, ...others: readonly Float64Array[]): Float64Array {
  return first.map((value, j) => others.reduce((result, other) => result * other[j]!, value));
}

/** Term of a sum of squares. */
export const square = (value: number): number => value * value;
