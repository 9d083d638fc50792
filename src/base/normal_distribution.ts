/** The normal distribution with mean 0 and deviation 1. */

/** The share below x: 1/2 + density(x) (x + x^3 / 3 + x^5 / (3 * 5) + ..). */
export function normalShare(x: number): number {
  if (Math.abs(x) > 40) return x > 0 ? 1 : 0;
  let [sum, term] = [0, x];
  for (let odd = 3; sum + term !== sum; odd += 2) {
    sum += term;
    term *= x ** 2 / odd;
  }
  return 0.5 + density(x) * sum;
}

/**
 * The x below which a share is, by Newton's method, whose steps from 0 never go beyond the result.
 * @param share - 0 to 1, exclusive
 */
export function normalQuantile(share: number): number {
  if (share < 0.5) return -normalQuantile(1 - share);
  let x = 0;
  for (let step = 1; step > 1e-12; x += step) step = (share - normalShare(x)) / density(x);
  return x;
}

function density(x: number): number {
  return Math.exp(-(x ** 2) / 2) / Math.sqrt(2 * Math.PI);
}
