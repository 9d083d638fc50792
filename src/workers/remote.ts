/** State and helpers that all remote passes share. */
import type { Store } from "../io/store/store.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { hasTensors } from "./recipes.ts";
import type { LayerRange, Unit } from "./unit.ts";

/** The run's side of remote passes: where units go, and how they are cut. */
export interface Remote {
  readonly store: Store;
  readonly dispatcher: Dispatcher;
  readonly spec: ModelSpec;
  /** SHA-256 of the dense model's files by name. */
  readonly hashes: Readonly<Record<string, string>>;
  /** Number of layers in a unit of statistics, moments or refitting. */
  readonly range: number;
}

/** Ranges of `range` layers that cover the model; the last one may be shorter. */
export function rangesOf({ spec, range }: Remote): readonly LayerRange[] {
  const { length } = spec.layers;
  return Array.from({ length: Math.ceil(length / range) }, (_, index) => {
    return { first: index * range, end: Math.min(length, (index + 1) * range) };
  });
}

/** A value of a unit's result that names tensors; computed again when the store has lost some of them. */
export async function valueWithTensors(
  { dispatcher, store }: Remote,
  unit: Unit,
  name: string,
): Promise<unknown> {
  const value = await dispatcher.value(unit, name);
  if (await hasTensors(store, value)) return value;
  await dispatcher.forget(unit);
  return dispatcher.value(unit, name);
}

/** Marks a promise as handled: it is awaited later, or not at all when another one fails first. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
