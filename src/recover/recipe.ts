/** Makes models from recipes: what a pruned model has to be elsewhere, in plain values. */
import type { MadeModel, ModelRecipe } from "../calibrate/passes.ts";
import type { Model } from "../model/model.ts";
import { makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { compensateMeans } from "./mean_compensation.ts";
import { withTensors } from "./with_tensors.ts";

/**
 * The model that a recipe makes of the dense one.
 * @throws GpruneError BAD_PLAN when the kept units are not the model's, NOT_FINITE naming a bias that is no number
 */
export async function makeModel(dense: Model, recipe: ModelRecipe): Promise<MadeModel> {
  const { keep, means, tensors, layers } = recipe;
  let model = dense;
  if (keep !== undefined) {
    const plan = makePlan(dense.spec, keep);
    model = means === undefined ? applyPlan(dense, plan) : await compensateMeans(dense, plan, means);
  }
  if (tensors !== undefined) model = withTensors(model, tensors, layers === undefined ? {} : { layers });
  return { model, recipe };
}
