/** The factors of a model's blocks (`BlockMultipliers`), by where they act. */
import type { ModelSpec } from "./spec.ts";
import type { SpaceKind } from "./weights.ts";

/** The factor on what the output projection of a kind of units gives, before it joins the residual stream. */
export function outputScale(
  { residualScale, multipliers }: Pick<ModelSpec, "residualScale" | "multipliers">,
  kind: SpaceKind,
): number {
  return residualScale * (multipliers?.[kind === "kv" ? "attentionOutput" : "ffnOutput"] ?? 1);
}
