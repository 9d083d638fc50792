/**
 * Recipes of pruned models in a store: a small value that names the objects of tensors, each of which is read when it
 * is needed, since together they may be most of a model.
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

/** A recipe in the store. */
interface KeptRecipe extends Omit<ModelRecipe, "tensors"> {
  readonly kept?: KeptTensors;
}

/** Keeps a recipe. @throws GpruneError STORE_FAILED */
export async function keepRecipe(store: Store, { tensors, ...rest }: ModelRecipe): Promise<Digest> {
  if (tensors === undefined) return keepValue(store, rest);
  return keepValue(store, { ...rest, kept: await keepTensors(store, tensors) });
}

/** Where tensors are that came from a store, or went there: they need not be read to be kept there again. */
const KNOWN = new WeakMap<AnyTensor, { readonly store: Store; readonly kept: KeptTensor }>();

/** Keeps tensors, each by itself. @throws GpruneError STORE_FAILED */
export async function keepTensors(
  store: Store,
  tensors: ReadonlyMap<string, AnyTensor>,
): Promise<KeptTensors> {
  const kept = new Map<string, KeptTensor>();
  for (const [name, tensor] of tensors) kept.set(name, await keepTensor(store, tensor));
  return kept;
}

async function keepTensor(store: Store, tensor: AnyTensor): Promise<KeptTensor> {
  const known = KNOWN.get(tensor);
  if (known?.store === store && (await store.has(known.kept.object))) return known.kept;
  const { shape, data } = await loaded(tensor);
  const kept = { shape, length: data.length, object: await keepValue(store, data) };
  KNOWN.set(tensor, { store, kept });
  return kept;
}

/** A recipe that was kept; its tensors are read when they are asked for. @throws GpruneError STORE_FAILED */
export async function keptRecipe(store: Store, object: Digest): Promise<ModelRecipe> {
  return recipeOf(store, await requireValue(store, object));
}

/** The recipe that a kept value stands for; its tensors are read when they are asked for. */
export function recipeOf(store: Store, value: unknown): ModelRecipe {
  const { kept, ...rest } = value as KeptRecipe;
  if (kept === undefined) return rest;
  return { ...rest, tensors: tensorsOf(store, kept) };
}

/** Kept tensors, which are read when they are asked for. */
export function tensorsOf(store: Store, tensors: KeptTensors): ReadonlyMap<string, AnyTensor> {
  const stored = Array.from(tensors, ([name, kept]): [string, AnyTensor] => {
    const { shape, length, object } = kept;
    const read = async (): Promise<Float32Array> => (await requireValue(store, object)) as Float32Array;
    const tensor = { shape, data: new StoredFloats(length, read) };
    KNOWN.set(tensor, { store, kept });
    return [name, tensor];
  });
  return new Map(stored);
}

/** Whether all tensors of a kept value are there, as far as that can be told without reading them. */
export async function hasTensors(store: Store, value: unknown): Promise<boolean> {
  const { kept } = value as { readonly kept?: KeptTensors };
  for (const { object } of kept?.values() ?? []) if (!(await store.has(object))) return false;
  return true;
}
