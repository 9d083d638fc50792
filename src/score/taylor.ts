/**
 * First-order Taylor importance of a unit's gate: the first-order change of the loss when the unit is removed.
 *
 * s_u = mean over windows of |d loss / d gate_u|, one gate per unit
 *
 * At gate 1 the gradient is the sum over tokens of x * d loss / d x, which is LLM-Pruner's vector salience of the
 * unit's activation. Source: Molchanov et al. (arXiv 1611.06440), eq. 5; LLM-Pruner (arXiv 2305.11627), eq. 3.
 */
import { gatesOf, spreadOverChannels } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const taylor: Metric = {
  name: "taylor",
  summary: "absolute gradient of the loss by the unit's gate",
  input: "gradients",
  allocation: "global",
  reads: [],
  score: (view: ScoringView): Float64Array => {
    const { absolute, windows } = gatesOf(view);
    return spreadOverChannels(
      absolute.map((sum) => sum / windows),
      view.space,
    );
  },
};
