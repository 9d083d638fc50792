/** Differences between lists of numbers, for comparisons within a tolerance. */

type Numbers = ArrayLike<number>;

/** The largest |a - b|; NaN when a value is NaN, or the lengths differ. */
export function maxDifference(a: Numbers, b: Numbers): number {
  if (a.length !== b.length) return Number.NaN;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= largest)) largest = difference;
    if (Number.isNaN(largest)) return largest;
  }
  return largest;
}

/** The largest |x|. */
export function maxAbs(values: Numbers): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!));
  return largest;
}

/** The largest |a - b| relative to the largest |b|. */
export function relativeDifference(a: Numbers, b: Numbers): number {
  return maxDifference(a, b) / maxAbs(b);
}

/** The error function by its Maclaurin series, for |x| below 5. */
export function erf(x: number): number {
  let [sum, term] = [0, x];
  for (let n = 0; n < 200; n++) {
    sum += term / (2 * n + 1);
    term *= -(x * x) / (n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
