/**
 * FLAP WIFV, weighted input feature variance: the variance of a channel times its squared norm in the output
 * projection.
 *
 * s_j = Var x_j * sum over rows i of W_ij^2
 *
 * That is the expected squared error of the block's output when the channel is replaced by its mean and channels are
 * uncorrelated. Source: FLAP (arXiv 2312.11983), lib/prune.py `metrics` @3bb57db. Deviations: see flap_ifv.ts.
 */
import { columnSums, outputWeightOf, product, square, statsOf, variances } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const flapWifv: Metric = {
  name: "flap-wifv",
  summary: "FLAP: activation variance times the output column's squared norm",
  input: "activations",
  allocation: "global",
  reads: ["output"],
  score: (view: ScoringView): Float64Array =>
    product(variances(statsOf(view)), columnSums(outputWeightOf(view), square)),
};
