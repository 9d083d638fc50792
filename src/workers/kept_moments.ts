/** Moments in a store. Each covariance is an object of its own, since together they may be as large as a model. */
import type { Moments, SpaceMoments } from "../calibrate/moments.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { keepValue, requireValue, type Store } from "../io/store/store.ts";
import { type KeptTensors, keepTensors, tensorsOf } from "./recipes.ts";

/** The object that names the covariances. */
interface KeptMoments {
  readonly means: ReadonlyMap<string, Omit<SpaceMoments, "covariance">>;
  /** Covariances by space id. */
  readonly kept: KeptTensors;
}

/** Writes moments to the store. @throws GpruneError STORE_FAILED */
export async function keepMoments(store: Store, moments: Moments): Promise<Digest> {
  const covariances = Array.from(moments, ([id, { covariance }]) => [id, covariance] as const);
  const means = Array.from(moments, ([id, { mean, squares }]) => [id, { mean, squares }] as const);
  const value: KeptMoments = {
    means: new Map(means),
    kept: await keepTensors(store, new Map(covariances)),
  };
  return keepValue(store, value);
}

/** Reads moments from the store; a covariance is read when it is used. @throws GpruneError STORE_FAILED */
export async function keptMoments(store: Store, object: Digest): Promise<Moments> {
  return momentsFrom(store, await requireValue(store, object));
}

/** Moments of a value that {@link keepMoments} wrote; a covariance is read when it is used. */
export function momentsFrom(store: Store, value: unknown): Moments {
  const { means, kept } = value as KeptMoments;
  const covariances = tensorsOf(store, kept);
  return new Map(
    Array.from(means, ([id, sums]) => [id, { ...sums, covariance: covariances.get(id)! }] as const),
  );
}
