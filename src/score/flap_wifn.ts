/**
 * FLAP WIFN, weighted input feature norm.
 *
 * s_j = mean over rows i of |W_ij| * sqrt(E x_j^2)
 *
 * Source: FLAP (arXiv 2312.11983), lib/prune.py `metrics` @3bb57db. The formula is Wanda-sp's; the differences in the
 * published code (attention scores squared, spaces ranked together) belong to the allocation here, so the scores of the
 * two metrics are equal. Both names exist because users look for both.
 */
import type { Metric } from "./metric.ts";
import { weightedInputNorm } from "./wanda_sp.ts";

export const flapWifn: Metric = {
  name: "flap-wifn",
  summary: "FLAP: wanda-sp's scores, ranked across layers",
  input: "activations",
  allocation: "global",
  reads: ["output"],
  score: weightedInputNorm,
};
