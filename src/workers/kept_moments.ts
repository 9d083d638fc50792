/** Moments in a store, each covariance by itself, since together they may be as much as a model. */
import type { Moments, SpaceMoments } from "../calibrate/moments.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { keepValue, requireValue, type Store } from "../io/store/store.ts";
import { type KeptTensors, keepTensors, tensorsOf } from "./recipes.ts";

interface KeptMoments {
  readonly means: ReadonlyMap<string, Omit<SpaceMoments, "covariance">>;
  /** Covariances by space id. */
  readonly kept: KeptTensors;
}

/** @throws GpruneError STORE_FAILED */
export async function keepMoments(store: Store, moments: Moments): Promise<Digest> {
  const covariances = Array.from(moments, ([id, { covariance }]) => [id, covariance] as const);
  const means = Array.from(moments, ([id, { mean, squares }]) => [id, { mean, squares }] as const);
  const value: KeptMoments = {
    means: new Map(means),
    kept: await keepTensors(store, new Map(covariances)),
  };
  return keepValue(store, value);
}

/** Moments that were kept; covariances are read when they are asked for. @throws GpruneError STORE_FAILED */
export async function keptMoments(store: Store, object: Digest): Promise<Moments> {
  return momentsFrom(store, await requireValue(store, object));
}

/** The moments that a kept value stands for. */
export function momentsFrom(store: Store, value: unknown): Moments {
  const { means, kept } = value as KeptMoments;
  const covariances = tensorsOf(store, kept);
  return new Map(
    Array.from(means, ([id, own]) => [id, { ...own, covariance: covariances.get(id)! }] as const),
  );
}
