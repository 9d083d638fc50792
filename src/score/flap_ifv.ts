/**
 * FLAP IFV, input feature variance: how much a channel fluctuates around its mean. A channel that does not fluctuate
 * can be replaced by a bias.
 *
 * s_j = Var x_j = E x_j^2 - (E x_j)^2, over all tokens of the set
 *
 * Source: FLAP (arXiv 2312.11983), lib/prune.py `metrics` and lib/layerwrapper.py `BiasGPT.add_batch` @3bb57db.
 *
 * Differs from the published code, which
 * - updates its running mean in place while an alias of it is taken for the old mean, so that it sums
 *   (x - newMean)^2 and not Welford's (x - newMean)(x - oldMean); and gives the first sequence no weight at all. Ours
 *   is the exact variance, which does not depend on the order of the sequences and merges;
 * - sums over a sequence's tokens; ours is a mean (a constant factor, which standardising removes);
 * - squares the scores of attention channels. Here the allocation that ranks spaces together squares them
 *   (prune/allocate_global.ts), the only place where it makes a difference.
 */
import { statsOf, variances } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const flapIfv: Metric = {
  name: "flap-ifv",
  summary: "FLAP: activation variance",
  input: "activations",
  allocation: "global",
  reads: [],
  score: (view: ScoringView): Float64Array => variances(statsOf(view)),
};
