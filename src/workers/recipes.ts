/**
 * Recipes of pruned models in a store: a small value that names the objects of tensors, each of which is read when it is needed,
 * since together they may be most of a model.
 */
import type { ModelRecipe } from "../calibrate/passes.ts";
import type { Digest } from "../io/stage_file.ts";
import { keepValue, requireValue, type Store } from "../io/store.ts";
import { type AnyTensor, loaded, StoredFloats } from "../tensor/stash.ts";

/** A tensor in the store. */
interface KeptTensor {
  readonly shape: readonly number[];
  readonly length: number;
  readonly object: Digest;
}

/** A recipe in the store. */
interface KeptRecipe extends Omit<ModelRecipe, "tensors"> {
  readonly kept?: ReadonlyMap<string, KeptTensor>;
}

/** Keeps a recipe. @throws GpruneError STORE_FAILED */
export async function keepRecipe(store: Store, { tensors, ...rest }: ModelRecipe): Promise<Digest> {
  if (tensors === undefined) return keepValue(store, rest);
  const kept = new Map<string, KeptTensor>();
  for (const [name, tensor] of tensors) {
    const { shape, data } = await loaded(tensor);
    kept.set(name, { shape, length: data.length, object: await keepValue(store, data) });
  }
  return keepValue(store, { ...rest, kept });
}

/** A recipe that was kept; its tensors are read when they are asked for. @throws GpruneError STORE_FAILED */
export async function keptRecipe(store: Store, object: Digest): Promise<ModelRecipe> {
  return recipeOf(store, await requireValue(store, object));
}

/** The recipe that a kept value stands for; its tensors are read when they are asked for. */
export function recipeOf(store: Store, value: unknown): ModelRecipe {
  const { kept, ...rest } = value as KeptRecipe;
  if (kept === undefined) return rest;
  const tensors = Array.from(kept, ([name, { shape, length, object: own }]): [string, AnyTensor] => {
    const read = async (): Promise<Float32Array> => (await requireValue(store, own)) as Float32Array;
    return [name, { shape, data: new StoredFloats(length, read) }];
  });
  return { ...rest, tensors: new Map(tensors) };
}

/** Whether all tensors of a kept value are there, as far as that can be told without reading them. */
export async function hasTensors(store: Store, value: unknown): Promise<boolean> {
  const { kept } = value as KeptRecipe;
  for (const { object } of kept?.values() ?? []) if (!(await store.has(object))) return false;
  return true;
}
