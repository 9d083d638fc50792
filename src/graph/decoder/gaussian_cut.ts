/** The cut of gates by their own mean and standard deviation (`_gaussian_topk` of modeling_gemma3n.py). */
import { normalQuantile } from "../../base/normal_distribution.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { relu } from "../ir/operators.ts";

/**
 * max(0, x - mean - z * deviation) over the last axis, which is 0 for a share of gates that are normally distributed.
 * @param share - 0 to 1, exclusive; z is the quantile of the normal distribution
 */
export function gaussianCut(b: GraphBuilder, x: Value, share: number): Value {
  const deviations = b.sub(x, b.reduceMean(x, [-1]));
  const variance = b.reduceMean(b.mul(deviations, deviations), [-1]);
  return relu(b, b.sub(deviations, b.mul(b.sqrt(variance), b.scalar(normalQuantile(share)))));
}
