/**
 * AdamW in float32, one tensor at a time, so that gradients need not be held for the whole model at once.
 *
 * m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
 * w <- w - rate * (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay * w)
 *
 * Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2.
 */
import { internalError } from "../errors.ts";

/** First and second moments of one tensor's gradients. */
export interface AdamMoments {
  readonly first: Float32Array;
  readonly second: Float32Array;
}

export interface AdamWSettings {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  /** Pull towards zero, as a fraction of the learning rate. */
  readonly decay?: number;
}

/** The optimiser's state and step. */
export class AdamW {
  readonly moments: Map<string, AdamMoments> = new Map();
  readonly #settings: Required<AdamWSettings>;

  constructor({ beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, decay = 0 }: AdamWSettings = {}) {
    this.#settings = { beta1, beta2, epsilon, decay };
  }

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
    const { beta1, beta2, epsilon, decay } = this.#settings;
    const { first, second } = this.#momentsOf(name, weights.length);
    const step = rate / (1 - beta1 ** time);
    const scale = 1 / (1 - beta2 ** time);
    const keep = 1 - rate * decay;
    for (let i = 0; i < weights.length; i++) {
      const g = gradient[i]!;
      const m = beta1 * first[i]! + (1 - beta1) * g;
      const v = beta2 * second[i]! + (1 - beta2) * g * g;
      first[i] = m;
      second[i] = v;
      weights[i] = keep * weights[i]! - (step * m) / (Math.sqrt(v * scale) + epsilon);
    }
  }

  #momentsOf(name: string, size: number): AdamMoments {
    let moments = this.moments.get(name);
    if (moments === undefined) {
      moments = { first: new Float32Array(size), second: new Float32Array(size) };
      this.moments.set(name, moments);
    }
    return moments;
  }
}
