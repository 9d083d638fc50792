/**
 * Empirical Fisher information of a unit's gate, which is proportional to the second-order increase of the loss when
 * the unit is removed.
 *
 * s_u = mean over windows of (d loss / d gate_u)^2, one gate per unit
 *
 * Source: Molchanov et al., Importance Estimation for Neural Network Pruning (arXiv 1906.10771), eq. 9, and Kwon et
 * al., A Fast Post-Training Pruning Framework for Transformers (arXiv 2204.09656), section 3; per sequence and not per
 * token.
 */
import { gatesOf, spreadOverChannels } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const fisher: Metric = {
  name: "fisher",
  summary: "squared gradient of the loss by the unit's gate",
  input: "gradients",
  allocation: "global",
  reads: [],
  score: (view: ScoringView): Float64Array => {
    const { squares, windows } = gatesOf(view);
    return spreadOverChannels(
      squares.map((sum) => sum / windows),
      view.space,
    );
  },
};
