/**
 * Magnitude: the product of the norms of all weights of a unit. Activation-independent.
 *
 * neuron j:   s_j = ||gate_j||_2 * ||up_j||_2 * ||down_:j||_2
 * KV group u: s_u = ||Q_u||_F * ||K_u||_F * ||V_u||_F * ||O_:u||_F   (its rows of q, k, v; its columns of o)
 *
 * A group's score is spread evenly over its g*H channels. The product does not change when a factor moves from one
 * weight to another, as in LayerNorm folding or quantisation scaling; the sum of norms of Torch-Pruning and Mag-sp
 * does. Ours, no published code.
 */
import { sumOverUnits } from "../model/spaces.ts";
import { columnSums, outputWeightOf, product, spreadOverChannels, square, unitRowSums } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const magnitude: Metric = {
  name: "magnitude",
  summary: "product of the norms of the unit's weights",
  input: "weights",
  allocation: "uniform",
  reads: ["input", "output"],
  score(view: ScoringView): Float64Array {
    const { space, inputWeights } = view;
    const rows = inputWeights.map((weight) => unitRowSums(weight, { units: space.units, term: square }));
    const columns = sumOverUnits(columnSums(outputWeightOf(view), square), space);
    const norms = [columns, ...rows].map((sums) => sums.map(Math.sqrt));
    return spreadOverChannels(product(norms[0]!, ...norms.slice(1)), space);
  },
};
