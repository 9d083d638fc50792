/**
 * Random: a uniform number in [0, 1) per unit, the baseline that every metric has to beat. Each space has its own
 * random stream, derived from the seed and the space id, so its scores depend neither on the order of scoring nor on
 * the widths of other layers.
 */
import { randomStream } from "../tensor/random.ts";
import { spreadOverChannels } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const random: Metric = {
  name: "random",
  summary: "a seeded random number, as a control",
  input: "weights",
  allocation: "uniform",
  reads: [],
  score({ space, seed }: ScoringView): Float64Array {
    const values = Float64Array.from({ length: space.units }, randomStream(seed, space.id));
    return spreadOverChannels(values, space);
  },
};
