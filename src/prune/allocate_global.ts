/**
 * Global: FLAP's AL-AM, one ranking of all units of all spaces.
 *
 * z_j = (s_j - mean s) / std s over the channels of a space, attention scores squared first; std 0 gives zeros,
 * or the lowest possible z when all scores are 0: such a space adds nothing to the stream
 * unit value = mean of z over its channels; in ascending order, a unit is removed if its parameters fit the budget
 *
 * Source: FLAP (arXiv 2312.11983) lib/prune.py `prune_flap`, structure AL-AM @3bb57db. Standard deviation with
 * n - 1, as torch.std. The published code squares the metric of attention channels (`** 2`) before
 * standardising; that affects this ranking only, so it is done here and the scores stay unsquared.
 *
 * Differs from the published code: a unit costs its own parameters, (2 g + 2) H C for a KV group, there 512/3
 * neurons per head (MHA with H = 128); the budget is met to within one neuron, there by the nearest threshold, which
 * removes all ties together; at least one unit stays in each space, there whole blocks may vanish; a space that adds
 * nothing to the stream is removed first, there after all units that score below the mean.
 */
import { type Space, spacesOf, sumOverUnits } from "../model/spaces.ts";
import type { SpaceKind } from "../model/weights.ts";
import { square } from "../score/channels.ts";
import { type Allocation, type AllocationRequest, scoresOf } from "./allocation.ts";
import type { Keep } from "./plan.ts";
import { removeRanked } from "./ranked.ts";

/** Transform of a channel score before standardisation. */
const TRANSFORM: Readonly<Record<SpaceKind, (score: number) => number>> = {
  ffn: (score) => score,
  kv: square,
};

export const global: Allocation = {
  name: "global",
  allocate(request: AllocationRequest): Keep {
    const ranked = spacesOf(request.spec).map((space) => {
      return { space, values: standardisedUnits(scoresOf(request, space), space) };
    });
    return removeRanked(ranked, request);
  },
};

/** Mean standardised score of every unit, [units]. */
export function standardisedUnits(scores: Float64Array, space: Space): Float64Array {
  if (scores.every((score) => score === 0)) return new Float64Array(space.units).fill(lowest(scores.length));
  const standardised = standardise(scores.map(TRANSFORM[space.kind]));
  return sumOverUnits(standardised, space).map((sum) => sum / space.unitChannels);
}

/** The smallest z that one of n values can have (standard deviation with n - 1): when all others are equal. */
function lowest(n: number): number {
  return -(n - 1) / Math.sqrt(n) || -1;
}

/**
 * (x - mean) / std with n - 1 degrees of freedom. Values that are equal up to float64 rounding (a standard
 * deviation below 1e-12 of the largest magnitude) are all 0, as is a single value.
 */
export function standardise(values: Float64Array): Float64Array {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const deviation = n > 1 ? Math.sqrt(squares / (n - 1)) : 0;
  const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  if (deviation <= 1e-12 * largest) return new Float64Array(n);
  return values.map((value) => (value - mean) / deviation);
}
