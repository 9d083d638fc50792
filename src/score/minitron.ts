/**
 * Minitron: the activation norm of a unit, L2 over sequences of the mean magnitude inside a sequence.
 *
 * a_j = sqrt(mean over sequences of (mean over tokens of |x_j|)^2)
 * neuron j: s_j = a_j;   KV group u: s_u = sqrt(sum over its channels of a_j^2)
 *
 * Channel j of group u gets a_j^2 / s_u, so that a unit's sum is s_u. Source: Minitron (arXiv 2407.14679), NVIDIA
 * Model-Optimizer modelopt/torch/prune/plugins/mcore_minitron.py @a2fbac7.
 *
 * Differs from the published code: a mean over sequences in place of a sum, so that sets of different length are
 * comparable; the published code ranks query heads inside their group, here the group is the unit and one score covers
 * its heads.
 */
import { sumOverUnits } from "../model/spaces.ts";
import { statsOf } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

export const minitron: Metric = {
  name: "minitron",
  summary: "L2 norm over sequences of the mean activation magnitude",
  input: "activations",
  allocation: "uniform",
  reads: [],
  score(view: ScoringView): Float64Array {
    const { sumMeanAbsSquared, sequences } = statsOf(view);
    const squares = sumMeanAbsSquared.map((sum) => sum / sequences);
    const norms = sumOverUnits(squares, view.space).map(Math.sqrt);
    return squares.map((value, j) => {
      const norm = norms[Math.floor(j / view.space.unitChannels)]!;
      return norm === 0 ? 0 : value / norm;
    });
  },
};
