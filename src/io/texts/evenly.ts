/** Deterministic, evenly spaced selections. */

/** At most `count` of the items, evenly spaced, starting with the first. */
export function evenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}

/**
 * All items, or fewer, evenly spaced, whose total cost is within `budget`; at least one, even if it costs more.
 * @param costOf - the cost of an item, non-negative
 */
export function evenlyWithin<T>(
  items: readonly T[],
  budget: number,
  costOf: (item: T) => number,
): readonly T[] {
  let chosen = items;
  while (chosen.length > 1) {
    const cost = chosen.reduce((sum, item) => sum + costOf(item), 0);
    if (cost <= budget) break;
    chosen = evenly(items, Math.max(1, Math.floor((chosen.length * budget) / cost)));
  }
  return chosen;
}
