/**
 * Wanda-sp: the structured form of Wanda, a baseline of the FLAP paper.
 *
 * s_j = mean over rows i of |W_ij| * sqrt(E x_j^2)
 *
 * W is down_proj or o_proj, x its input; a head's score is the sum over its channels. Source: Wanda (arXiv 2306.11695),
 * FLAP lib/prune.py `prune_wanda_sp` and lib/layerwrapper.py `WrappedGPT` @3bb57db.
 *
 * Differs from the published code: E is a mean over tokens, there a mean over sequences of a sum over tokens (a factor
 * sqrt(tokens of a sequence), the same for every channel); statistics are those of the dense model, there layer i is
 * measured after layers 0..i-1 were pruned.
 */
import { columnSums, meanSquares, outputWeightOf, statsOf } from "./channels.ts";
import type { Metric, ScoringView } from "./metric.ts";

/** mean_i |W_ij| * sqrt(E x_j^2), [channels]; also FLAP's WIFN. */
export function weightedInputNorm(view: ScoringView): Float64Array {
  const weight = outputWeightOf(view);
  const rows = weight.shape[0]!;
  const squares = meanSquares(statsOf(view));
  return columnSums(weight, Math.abs).map((sum, j) => (sum / rows) * Math.sqrt(squares[j]!));
}

export const wandaSp: Metric = {
  name: "wanda-sp",
  summary: "mean weight magnitude times root mean square activation",
  input: "activations",
  allocation: "uniform",
  reads: ["output"],
  score: weightedInputNorm,
};
