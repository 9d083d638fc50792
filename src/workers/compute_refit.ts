/** Computes units of refitting: least-squares fits of output projections over a range of layers. */

import type { Checkpoints } from "../base/stages.ts";
import { requireValue } from "../io/store/store.ts";
import { makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { type Refitted, refitProjections } from "../recover/least_squares.ts";
import type { UnitContext } from "./compute_moments.ts";
import { keptMoments } from "./kept_moments.ts";
import { keepRecipe } from "./recipes.ts";
import type { RefitRecipe, RefitUnit, UnitResult } from "./unit.ts";

/** Refits a range of layers. @returns `refitted`: a recipe of the new tensors and layers */
export async function refitUnit(
  { recipe, moments: object, first, end }: RefitUnit,
  { dense, runtime, store }: UnitContext,
): Promise<UnitResult> {
  const { keep, addsBiases, alternatives } = (await requireValue(store, recipe)) as RefitRecipe;
  const plan = makePlan(dense.spec, keep);
  const layers = applyPlan(dense, plan).spec.layers.slice(0, first);
  const checkpoints: Checkpoints<Refitted> = {
    restore: async () => ({ layers, tensors: new Map() }),
    reached: async () => {},
  };
  const moments = await keptMoments(store, object);
  const refitted = await refitProjections({
    dense,
    plan,
    runtime,
    moments,
    addsBiases,
    alternatives,
    checkpoints,
    end,
  });
  const recipeOfRange = { tensors: refitted.tensors, layers: refitted.layers.slice(first) };
  return { refitted: await keepRecipe(store, recipeOfRange) };
}
