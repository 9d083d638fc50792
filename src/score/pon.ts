/**
 * PON, product of norms. Activation-independent.
 *
 * neuron j:   s_j = ||gate_j||_1 * ||up_j||_1
 * KV group u: s_u = ||Q_u||_1 * ||K_u||_1 * ||V_u||_1   (entrywise norms of its rows of q, k, v)
 *
 * The neuron formula is optipfair's (optipfair/pruning/mlp_glu.py @335e328), which leaves down_proj out. The KV form is
 * ours: the same product over all projections that write the unit's channels; spread evenly over its g*H channels.
 */
import { product, spreadOverChannels, unitRowSums } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const pon: Metric = {
  name: "pon",
  summary: "product of the L1 norms of the unit's input weights",
  input: "weights",
  allocation: "uniform",
  reads: ["input"],
  score({ space, inputWeights }: ScoringView): Float64Array {
    const options = { units: space.units, term: Math.abs };
    const norms = inputWeights.map((weight) => unitRowSums(weight, options));
    return spreadOverChannels(product(norms[0]!, ...norms.slice(1)), space);
  },
};
