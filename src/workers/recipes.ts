/**
 * Recipes of pruned models in a store: one small object that names an object for each tensor. Tensors are read one by
 * one when they are used, since together they may be most of a model.
 */
import type { ModelRecipe } from "../calibrate/passes.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { keepValue, requireValue, type Store } from "../io/store/store.ts";
import { type AnyTensor, loaded, StoredFloats } from "../tensor/stash.ts";

/** A tensor in the store. */
interface KeptTensor {
  readonly shape: readonly number[];
  readonly length: number;
  readonly object: Digest;
}

/** Tensors in the store, by name. */
export type KeptTensors = ReadonlyMap<string, KeptTensor>;

/** A recipe as its object has it. */
interface KeptRecipe extends Omit<ModelRecipe, "tensors"> {
  readonly kept?: KeptTensors;
}

/** Writes a recipe and its tensors to the store. @throws GpruneError STORE_FAILED */
export async function keepRecipe(store: Store, { tensors, ...rest }: ModelRecipe): Promise<Digest> {
  if (tensors === undefined) return keepValue(store, rest);
  return keepValue(store, { ...rest, kept: await keepTensors(store, tensors) });
}

/** Objects of tensors that were read from a store or written to one, and need not be written there again. */
const STORED_TENSORS = new WeakMap<AnyTensor, { readonly store: Store; readonly kept: KeptTensor }>();

/** Writes tensors to the store, an object each. @throws GpruneError STORE_FAILED */
export async function keepTensors(
  store: Store,
  tensors: ReadonlyMap<string, AnyTensor>,
): Promise<KeptTensors> {
  const kept = new Map<string, KeptTensor>();
  for (const [name, tensor] of tensors) kept.set(name, await keepTensor(store, tensor));
  return kept;
}

async function keepTensor(store: Store, tensor: AnyTensor): Promise<KeptTensor> {
  const stored = STORED_TENSORS.get(tensor);
  if (stored?.store === store && (await store.has(stored.kept.object))) return stored.kept;
  const { shape, data } = await loaded(tensor);
  const kept = { shape, length: data.length, object: await keepValue(store, data) };
  STORED_TENSORS.set(tensor, { store, kept });
  return kept;
}

/** Reads a recipe from the store; a tensor is read when it is used. @throws GpruneError STORE_FAILED */
export async function keptRecipe(store: Store, object: Digest): Promise<ModelRecipe> {
  return recipeOf(store, await requireValue(store, object));
}

/** Recipe of a value that {@link keepRecipe} wrote; a tensor is read when it is used. */
export function recipeOf(store: Store, value: unknown): ModelRecipe {
  const { kept, ...rest } = value as KeptRecipe;
  if (kept === undefined) return rest;
  return { ...rest, tensors: tensorsOf(store, kept) };
}

/** Tensors in the store, each of which is read when it is used. */
export function tensorsOf(store: Store, tensors: KeptTensors): ReadonlyMap<string, AnyTensor> {
  const stored = Array.from(tensors, ([name, kept]): [string, AnyTensor] => {
    const { shape, length, object } = kept;
    const read = async (): Promise<Float32Array> => (await requireValue(store, object)) as Float32Array;
    const tensor = { shape, data: new StoredFloats(length, read) };
    STORED_TENSORS.set(tensor, { store, kept });
    return [name, tensor];
  });
  return new Map(stored);
}

/** Whether the store has all tensors of a kept recipe or of kept moments, as far as `Store.has` can tell. */
export async function hasTensors(store: Store, value: unknown): Promise<boolean> {
  const { kept } = value as { readonly kept?: KeptTensors };
  for (const { object } of kept?.values() ?? []) if (!(await store.has(object))) return false;
  return true;
}
