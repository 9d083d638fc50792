/** Refitting by workers, one unit for each range of layers. */
import type { Moments } from "../calibrate/moments.ts";
import { keepValue } from "../io/store/store.ts";
import { spacesOf } from "../model/spaces.ts";
import type { Refitted } from "../recover/least_squares.ts";
import type { RefitRequest } from "../recover/passes.ts";
import type { AnyTensor } from "../tensor/stash.ts";
import { keepMoments } from "./kept_moments.ts";
import { recipeOf } from "./recipes.ts";
import { type Remote, rangesOf, valueWithTensors } from "./remote.ts";
import type { LayerRange, RefitRecipe, RefitUnit } from "./unit.ts";
import { UnitProgress } from "./unit_progress.ts";

/** As `refitProjections`. */
export function remoteRefit(
  remote: Remote,
  { plan: { keep }, moments, addsBiases = true, alternatives, stage, onProgress }: RefitRequest,
): Promise<Refitted> {
  const { dispatcher, store, spec } = remote;
  const facts = { stage, total: spec.layers.length, unit: "layers", onProgress };
  const progress = new UnitProgress(dispatcher, facts);
  return progress.during(async () => {
    const refitRecipe: RefitRecipe = { keep, addsBiases, ...(alternatives && { alternatives }) };
    const recipe = await keepValue(store, refitRecipe);
    const units: RefitUnit[] = [];
    // One after another, so that only one covariance that is not in the store yet is in memory at a time.
    for (const range of rangesOf(remote)) {
      const kept = await keepMoments(store, momentsIn(remote, range, moments));
      units.push({ kind: "refit", hashes: remote.hashes, recipe, moments: kept, ...range });
    }
    const parts = await Promise.all(
      units.map(async (unit) => {
        const part = recipeOf(store, await valueWithTensors(remote, unit, "refitted"));
        progress.advance(unit.end - unit.first);
        return part;
      }),
    );
    return {
      layers: parts.flatMap(({ layers = [] }) => layers),
      tensors: new Map(parts.flatMap(({ tensors = new Map<string, AnyTensor>() }) => [...tensors])),
    };
  });
}

/** Moments of the spaces in a range of layers. */
function momentsIn({ spec }: Remote, { first, end }: LayerRange, moments: Moments): Moments {
  const spaces = spacesOf(spec).filter(({ layer }) => layer >= first && layer < end);
  const ids = new Set(spaces.map(({ id }) => id));
  return new Map([...moments].filter(([id]) => ids.has(id)));
}
