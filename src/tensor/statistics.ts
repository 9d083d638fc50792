/**
 * Rank statistics in float64: ranks with ties, Spearman's correlation, quantiles, moments. All answers are finite for
 * finite input of any length >= 1; constant values are a documented case, never NaN.
 *
 * Ranks are multiples of 1/2, so sums of ranks and of products of ranks are exact below 2^53: statistics built from
 * them do not depend on the order of the values.
 */

/** Arithmetic mean; 0 for no values. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return values.length === 0 ? 0 : sum / values.length;
}

/** Standard deviation with n degrees of freedom (of a population, not of a sample); 0 for no values. */
export function populationDeviation(values: ArrayLike<number>): number {
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i]! - centre) ** 2;
  return values.length === 0 ? 0 : Math.sqrt(squares / values.length);
}

/** Indices from the smallest value to the largest, equal values by index, [n]. */
export function ascendingOrder(values: ArrayLike<number>): Uint32Array {
  const order = new Uint32Array(values.length);
  for (let i = 0; i < order.length; i++) order[i] = i;
  return order.sort((a, b) => values[a]! - values[b]! || a - b);
}

/** Ranks from 0 to n - 1, ascending; equal values share the mean of their ranks, [n]. */
export function averageRanks(values: ArrayLike<number>): Float64Array {
  const order = ascendingOrder(values);
  const ranks = new Float64Array(order.length);
  for (let first = 0; first < order.length; ) {
    let end = first + 1;
    while (end < order.length && values[order[end]!] === values[order[first]!]) end++;
    for (let i = first; i < end; i++) ranks[order[i]!] = (first + end - 1) / 2;
    first = end;
  }
  return ranks;
}

/**
 * Spearman's rank correlation, Pearson's correlation of the average ranks, in [-1, 1]; 0 when either side is constant,
 * since it has no order to compare.
 */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return rankCorrelation(averageRanks(a), averageRanks(b));
}

/** Pearson's correlation of two rankings from `averageRanks`; 0 when either is constant. */
export function rankCorrelation(a: Float64Array, b: Float64Array): number {
  const centre = (a.length - 1) / 2;
  let products = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]! - centre;
    const y = b[i]! - centre;
    products += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  if (squaresA === 0 || squaresB === 0) return 0;
  return clamp(products / Math.sqrt(squaresA * squaresB), -1, 1);
}

/**
 * Quantile with linear interpolation between order statistics (Hyndman and Fan's type 7, the default of R and NumPy).
 * @param sorted - ascending, not empty
 * @param fraction - 0..1
 */
export function quantile(sorted: ArrayLike<number>, fraction: number): number {
  const at = fraction * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (at - below);
}

/** Median and range of repeated measurements. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** @param values - in any order, at least one */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: quantile(sorted, 0.5), min: sorted[0]!, max: sorted.at(-1)! };
}

/** The item with the largest key, the first of equals. @throws TypeError for no items */
export function largestBy<T>(items: readonly T[], key: (item: T) => number): T {
  return items.reduce((a, b) => (key(b) > key(a) ? b : a));
}

/** The item with the smallest key, as `largestBy`. */
export function smallestBy<T>(items: readonly T[], key: (item: T) => number): T {
  return largestBy(items, (item) => -key(item));
}

/** The nearest number in [low, high]. */
export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
