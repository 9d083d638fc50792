/** What passes that others compute share. */
import type { Store } from "../io/store/store.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { hasTensors } from "./recipes.ts";
import type { LayerRange, Unit } from "./unit.ts";

/** Where a run's units are computed. */
export interface Remote {
  readonly store: Store;
  readonly dispatcher: Dispatcher;
  readonly spec: ModelSpec;
  /** SHA-256 of the dense model's files by name. */
  readonly hashes: Readonly<Record<string, string>>;
  /** Layers of a unit that is a range of them. */
  readonly range: number;
}

/** The ranges of all layers. */
export function rangesOf({ spec, range }: Remote): readonly LayerRange[] {
  const { length } = spec.layers;
  return Array.from({ length: Math.ceil(length / range) }, (_, index) => {
    return { first: index * range, end: Math.min(length, (index + 1) * range) };
  });
}

/** A value with tensors that a unit gave; computed anew when tensors of an earlier run's are gone. */
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

/** A promise whose failure is heard later, or not at all when another one fails first. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
