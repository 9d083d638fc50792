/** Computes units of refitting. */
import type { Runtime } from "../graph/runtime.ts";
import type { Digest } from "../io/stage_file.ts";
import { keepValue, requireValue, type Store } from "../io/store.ts";
import type { Model } from "../model/model.ts";
import { makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { type RefitState, refitProjections } from "../recover/least_squares.ts";
import type { Checkpoints } from "../stages.ts";
import { loaded } from "../tensor/stash.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { keepRecipe, keptRecipe } from "./recipes.ts";
import { statesOfSets, statesOfShards } from "./refit_states.ts";
import type { RefitRecipe, RefitSet, RefitUnit, UnitResult } from "./unit.ts";

interface RefitPlace {
  readonly dense: Model;
  readonly runtime: Runtime;
  readonly store: Store;
}

/**
 * Refits a range of layers. @returns `refitted`: the new tensors and layers as a recipe; `after`: the objects that the hidden
 * states of every shard are after the range, by which the run sees that the units of statistics had the same
 */
export async function refitUnit(
  { recipe, sets: object, first, end }: RefitUnit,
  { dense, runtime, store }: RefitPlace,
): Promise<UnitResult> {
  const sets = (await requireValue(store, object)) as readonly RefitSet[];
  const { keep = {}, alternatives } = (await keptRecipe(store, recipe)) as RefitRecipe;
  const plan = makePlan(dense.spec, keep);
  const before = first === 0 ? null : statesOfSets(sets, await shardStates(store, sets));
  const layers = applyPlan(dense, plan).spec.layers.slice(0, first);
  let after: readonly Tensor[] = [];
  const checkpoints: Checkpoints<RefitState> = {
    restore: async () => (before === null ? undefined : { layers, tensors: new Map(), hidden: before }),
    reached: async (state) => {
      const { layers: done, hidden } = state();
      if (done.length === end && end < dense.spec.layers.length)
        after = await Promise.all(hidden.map(loaded));
    },
  };
  const refitted = await refitProjections({ dense, plan, runtime, sets, alternatives, checkpoints, end });
  const own = { tensors: refitted.tensors, layers: refitted.layers.slice(first) };
  const digests = after.length === 0 ? [] : await keepShards(store, statesOfShards(sets, after));
  return { refitted: await keepRecipe(store, own), after: await keepValue(store, digests) };
}

async function shardStates(
  store: Store,
  sets: readonly RefitSet[],
): Promise<readonly (readonly (readonly Tensor[])[])[]> {
  const states: (readonly Tensor[])[][] = [];
  for (const { shards } of sets) {
    const own: (readonly Tensor[])[] = [];
    for (const { hidden } of shards) own.push((await requireValue(store, hidden!)) as readonly Tensor[]);
    states.push(own);
  }
  return states;
}

async function keepShards(
  store: Store,
  states: readonly (readonly (readonly Tensor[])[])[],
): Promise<readonly Digest[]> {
  const digests: Digest[] = [];
  for (const shard of states.flat()) digests.push(await keepValue(store, shard));
  return digests;
}
