/** Layers that take keys and values from others, by `num_kv_shared_layers` (Gemma 3n, Gemma 4). */
import { GpruneError } from "../../errors.ts";
import type { KvSharing } from "../spec.ts";
import type { AttentionType } from "./rotations_by_type.ts";

/**
 * What layers share: the last ones read keys and values of the last layer of their type before them.
 * @param shared - how many of the last ones
 * @param types - of all layers
 * @throws GpruneError BAD_CONFIG where there is no such layer before them
 */
export function sharingOf(
  shared: number,
  types: readonly AttentionType[],
  where: string,
): readonly (KvSharing | undefined)[] {
  const first = types.length - shared;
  const sourceOf = (type: AttentionType): number => types.slice(0, Math.max(0, first)).lastIndexOf(type);
  const missing = types.slice(Math.max(0, first)).find((type) => sourceOf(type) < 0);
  if (missing !== undefined) {
    const expected = `a layer with ${missing} before the last ${shared}, which take its keys and values`;
    throw new GpruneError("BAD_CONFIG", `${where}: num_kv_shared_layers: expected ${expected}, got none`);
  }
  const sources = types.slice(first).map(sourceOf);
  return types.map((type, index) => {
    if (index >= first) return { role: "reader", source: sourceOf(type) };
    return sources.includes(index) ? { role: "source" } : undefined;
  });
}
