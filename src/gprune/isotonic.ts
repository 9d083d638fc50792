/**
 * Isotonic regression by pooling adjacent violators: the non-decreasing sequence nearest to the given one.
 *
 * minimise sum_i w_i (y_i - x_i)^2   subject to y_1 <= y_2 <= ... <= y_n
 *
 * O(n): every value enters a stack of blocks once, and a block that lies above its successor is merged with it into
 * their weighted mean. Equal to the min-max formula y_i = min over b >= i of max over a <= i of the weighted mean of
 * x_a..x_b. Source: Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972),
 * section 1.2.
 */
import { internalError } from "../errors.ts";

/**
 * @param values - finite, [n]
 * @param weights - finite and > 0, [n]; all 1 when absent
 * @returns the non-decreasing fit, [n]; exactly `values` where those already are non-decreasing
 */
export function isotonic(values: Float64Array, weights?: Float64Array): Float64Array {
  checkInput(values, weights);
  const n = values.length;
  const means = new Float64Array(n);
  const masses = new Float64Array(n);
  const ends = new Uint32Array(n);
  let blocks = 0;
  for (let i = 0; i < n; i++) {
    let level = values[i]!;
    let mass = weights?.[i] ?? 1;
    while (blocks > 0 && means[blocks - 1]! > level) {
      blocks--;
      const merged = mass + masses[blocks]!;
      level += (means[blocks]! - level) * (masses[blocks]! / merged);
      mass = merged;
    }
    means[blocks] = level;
    masses[blocks] = mass;
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

function checkInput(values: Float64Array, weights: Float64Array | undefined): void {
  if (weights !== undefined && weights.length !== values.length) {
    throw internalError(`isotonic: expected ${values.length} weights, got ${weights.length}`);
  }
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) throw internalError(`isotonic: value ${i} is ${values[i]}`);
    const weight = weights?.[i] ?? 1;
    if (!(weight > 0 && weight < Number.POSITIVE_INFINITY)) {
      throw internalError(`isotonic: weight ${i} is ${weight}`);
    }
  }
}
