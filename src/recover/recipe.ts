/** Makes models from recipes, the plain values from which other machines make the same pruned model. */
import type { MadeModel, ModelRecipe } from "../calibrate/passes.ts";
import type { CalibrationStats } from "../calibrate/stats.ts";
import type { Model } from "../model/model.ts";
import { type Keep, makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { compensatedBiases } from "./mean_compensation.ts";
import { withTensors } from "./with_tensors.ts";

/**
 * The model that a recipe makes of the dense one. @throws GpruneError BAD_PLAN if the kept units are not the model's
 */
export function makeModel(dense: Model, recipe: ModelRecipe): MadeModel {
  const { keep, tensors, layers } = recipe;
  const pruned = keep === undefined ? dense : applyPlan(dense, makePlan(dense.spec, keep));
  if (tensors === undefined) return { model: pruned, recipe };
  return { model: withTensors(pruned, tensors, layers), recipe };
}

/**
 * The model with only these units, and the mean outputs of the others in its biases.
 * @throws GpruneError as `compensateMeans`
 */
export async function makeCompensated(dense: Model, keep: Keep, stats: CalibrationStats): Promise<MadeModel> {
  return makeModel(dense, { keep, ...(await compensatedBiases(dense, makePlan(dense.spec, keep), stats)) });
}
