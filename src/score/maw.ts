/**
 * MAW, maximum absolute weight. Activation-independent.
 *
 * r(w) = max(w) + |min(w)| of one row w
 * neuron j:   s_j = r(gate_j) + r(up_j)
 * KV group u: s_u = mean of r over its g*H rows of q + mean over its H rows of k + mean over its H rows of v
 *
 * The neuron formula is optipfair's (optipfair/pruning/mlp_glu.py @335e328), |min| of an all-positive row included. The
 * KV form is ours: the mean makes the three projections count alike though q has g times the rows; it is the neuron
 * formula when a unit has one row each. Spread evenly over the group's g*H channels.
 */
import type { Tensor } from "../tensor/tensor.ts";
import { spreadOverChannels } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const maw: Metric = {
  name: "maw",
  summary: "range of the weights in the unit's input rows",
  input: "weights",
  allocation: "uniform",
  reads: ["input"],
  score({ space, inputWeights }: ScoringView): Float64Array {
    const values = new Float64Array(space.units);
    for (const weight of inputWeights) {
      const ranges = rowRanges(weight);
      const rowsOfUnit = ranges.length / space.units;
      for (const [row, range] of ranges.entries())
        values[Math.floor(row / rowsOfUnit)]! += range / rowsOfUnit;
    }
    return spreadOverChannels(values, space);
  },
};

/** max + |min| of every row of a [rows, C] weight, [rows]. */
function rowRanges({ shape, data }: Tensor): Float64Array {
  const [rows = 0, columns = 0] = shape;
  const ranges = new Float64Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (const end = at + columns; at < end; at++) {
      low = Math.min(low, data[at]!);
      high = Math.max(high, data[at]!);
    }
    ranges[row] = high + Math.abs(low);
  }
  return ranges;
}
