/** Evenly spaced choices, which are the same every time. */

/** At most `count` of the items, evenly spaced, the first among them. */
export function evenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}

/**
 * All items, or about as many evenly spaced ones as cost no more than `most` together; one even where that costs more.
 * @param costOf - of an item, 0 or more
 */
export function evenlyWithin<T>(
  items: readonly T[],
  most: number,
  costOf: (item: T) => number,
): readonly T[] {
  let chosen = items;
  while (chosen.length > 1) {
    const cost = chosen.reduce((sum, item) => sum + costOf(item), 0);
    if (cost <= most) break;
    chosen = evenly(items, Math.max(1, Math.floor((chosen.length * most) / cost)));
  }
  return chosen;
}
