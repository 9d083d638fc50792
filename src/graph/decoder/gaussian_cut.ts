/** The cut of gates by their own mean and standard deviation (`_gaussian_topk` of modeling_gemma3n.py). */
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

/**
 * The x below which a share of the normal distribution is. Newton's method, whose steps from 0 never go beyond the
 * result, on 1/2 + density(x) (x + x^3 / 3 + x^5 / (3 * 5) + ..).
 */
export function normalQuantile(share: number): number {
  if (share < 0.5) return -normalQuantile(1 - share);
  let x = 0;
  for (let step = 1; step > 1e-12; x += step) {
    const density = Math.exp(-(x ** 2) / 2) / Math.sqrt(2 * Math.PI);
    let [sum, term] = [0, x];
    for (let odd = 3; sum + term !== sum; odd += 2) {
      sum += term;
      term *= x ** 2 / odd;
    }
    step = (share - 0.5 - density * sum) / density;
  }
  return x;
}
