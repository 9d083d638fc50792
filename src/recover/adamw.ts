/**
 * AdamW without weight decay in float32, one tensor at a time, so that the gradients of the whole model need not be in
 * memory at once.
 *
 * m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
 * w <- w - rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
 *
 * Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2 with lambda = 0.
 */

import { getOrMake } from "../base/map_values.ts";
import { internalError } from "../errors.ts";

/** First and second moments of one tensor's gradients. */
export interface AdamMoments {
  readonly first: Float32Array;
  readonly second: Float32Array;
}

/** Decay rates of the moments; docs/EXPERIMENTS.md compares others. */
const BETA1 = 0.9;
const BETA2 = 0.95;
const EPSILON = 1e-8;

/** The optimiser: moments of every tensor, and the update of one. */
export class AdamW {
  readonly moments: Map<string, AdamMoments> = new Map();

  /**
   * Changes `weights` in place.
   * @param time - number of this step, from 1
   */
  update(
    name: string,
    { weights, gradient }: { readonly weights: Float32Array; readonly gradient: Float32Array },
    { time, rate }: { readonly time: number; readonly rate: number },
  ): void {
    if (gradient.length !== weights.length) throw internalError(`gradient of ${name}: ${gradient.length}`);
    const { first, second } = this.#momentsOf(name, weights.length);
    const step = rate / (1 - BETA1 ** time);
    const scale = 1 / (1 - BETA2 ** time);
    for (let i = 0; i < weights.length; i++) {
      const g = gradient[i]!;
      const m = BETA1 * first[i]! + (1 - BETA1) * g;
      const v = BETA2 * second[i]! + (1 - BETA2) * g * g;
      first[i] = m;
      second[i] = v;
      weights[i]! -= (step * m) / (Math.sqrt(v * scale) + EPSILON);
    }
  }

  #momentsOf(name: string, size: number): AdamMoments {
    const zeros = (): Float32Array => new Float32Array(size);
    return getOrMake(this.moments, name, () => ({ first: zeros(), second: zeros() }));
  }
}
