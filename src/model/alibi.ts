/**
 * ALiBi (arXiv 2108.12409): slopes of query heads, which belong to the heads and so stay with their KV groups when
 * others are removed.
 */
import type { LayerSpec } from "./spec.ts";

/** The m of n heads is 2^-(this / n). */
export const ALIBI_MAX = 8;

/**
 * ALiBi's slopes of a layer's query heads as models are trained with them, [N] (`build_alibi_tensor` of
 * modeling_bloom.py and modeling_mpt.py): m, m^2, ... for the largest power of two up to N, then odd powers of m's
 * root.
 */
export function alibiSlopes(heads: number): readonly number[] {
  const whole = 2 ** Math.floor(Math.log2(heads));
  const power = (head: number): number => (head < whole ? head + 1 : head - whole + 0.5);
  return Array.from({ length: heads }, (_, head) => 2 ** ((-ALIBI_MAX * power(head)) / whole));
}

/** The layer with some of its KV groups, whose query heads keep their slopes. @param kept - indices, ascending */
export function withKvGroups(layer: LayerSpec, kept: readonly number[]): LayerSpec {
  const { groupSize, slopes } = layer;
  const ofGroup = (group: number): readonly number[] =>
    slopes!.slice(group * groupSize, (group + 1) * groupSize);
  return { ...layer, kvGroups: kept.length, ...(slopes && { slopes: kept.flatMap(ofGroup) }) };
}

/**
 * The KV groups of a wider layer that have the slopes of a layer's, in order.
 * @returns null without slopes, or where some are not among the wider layer's
 */
export function groupPlaces(
  { slopes, kvGroups, groupSize }: LayerSpec,
  { slopes: all }: LayerSpec,
): readonly number[] | null {
  if (slopes === undefined || all === undefined) return null;
  const firsts = all.filter((_, head) => head % groupSize === 0);
  const places = Array.from({ length: kvGroups }, (_, group) => firsts.indexOf(slopes[group * groupSize]!));
  const found = places.flatMap((place) => all.slice(place * groupSize, (place + 1) * groupSize));
  const isSame = !places.includes(-1) && found.join() === slopes.join();
  return isSame && places.every((place, i) => i === 0 || place > places[i - 1]!) ? places : null;
}
