/**
 * Isotonic regression by pooling adjacent violators: the non-decreasing sequence nearest to the values.
 *
 * minimise sum_i (y_i - x_i)^2   subject to y_1 <= y_2 <= ... <= y_n
 *
 * O(n): every value enters a stack of blocks once, and a block that lies above its successor is merged with it into
 * their mean. Equal to the min-max formula y_i = min over b >= i of max over a <= i of the mean of x_a..x_b.
 * Source: Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972), section 1.2.
 */
import { internalError } from "../errors.ts";

/**
 * @param values - finite, [n]
 * @returns the non-decreasing fit, [n]; exactly `values` if they already are non-decreasing
 */
export function isotonic(values: Float64Array): Float64Array {
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw internalError(`isotonic: value ${bad} is ${values[bad]}`);
  const n = values.length;
  const means = new Float64Array(n);
  const lengths = new Float64Array(n);
  const ends = new Uint32Array(n);
  let blocks = 0;
  for (let i = 0; i < n; i++) {
    let level = values[i]!;
    let length = 1;
    while (blocks > 0 && means[blocks - 1]! > level) {
      blocks--;
      const merged = length + lengths[blocks]!;
      level += (means[blocks]! - level) * (lengths[blocks]! / merged);
      length = merged;
    }
    means[blocks] = level;
    lengths[blocks] = length;
    ends[blocks] = i + 1;
    blocks++;
  }
  const fit = new Float64Array(n);
  for (let block = 0, at = 0; block < blocks; block++) {
    fit.fill(means[block]!, at, ends[block]!);
    at = ends[block]!;
  }
  return fit;
}
