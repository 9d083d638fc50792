/**
 * Second moments of the inputs of output projections, over weighted texts in the dense model. Least squares with any
 * choice of units needs nothing else, so one pass over the texts serves every fit.
 *
 * Sums over micro-batches are float64; the results are covariances in float32, of which only the lower triangle is
 * stored. Tokens of a micro-batch are weighted by the inverse root mean square of the residual stream (the program
 * `moments`).
 */
import type { Outputs } from "../graph/decoder/decoder_runner.ts";
import { type MemoryPolicy, stashFor } from "../graph/runtime/memory_policy.ts";
import type { Feeds } from "../graph/runtime/runtime.ts";
import type { SpaceKind } from "../model/spaces.ts";
import { type AnyTensor, StashedTensors } from "../tensor/stash.ts";
import { triangleLength, triangleRow } from "../tensor/symmetric.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Moments of the n channels x of one space. */
export interface SpaceMoments {
  /** E x, [n]. */
  readonly mean: Float64Array;
  /** E x^2, [n]. */
  readonly squares: Float64Array;
  /** cov(x, x), its lower triangle (tensor/symmetric.ts), [n (n + 1) / 2]. */
  readonly covariance: AnyTensor;
}

/** Moments by space id. */
export type Moments = ReadonlyMap<string, SpaceMoments>;

/**
 * Numbers of channels in the two parts whose Gram matrices are summed separately. Neither is empty, which a device may
 * refuse: a single channel is in both.
 */
export function gramParts(channels: number): { readonly first: number; readonly rest: number } {
  const first = Math.ceil(channels / 2);
  return { first, rest: Math.max(1, channels - first) };
}

/** Inputs of the program `moments` for a space: tensors as long as the two parts of its channels. */
export function momentFeeds(kind: SpaceKind, channels: number): Feeds {
  const { first, rest } = gramParts(channels);
  const ofLength = (length: number): Feeds[string] => ({ shape: [length], data: new Int32Array(length) });
  return { [`${kind}.first`]: ofLength(first), [`${kind}.rest`]: ofLength(rest) };
}

/** Sums of one space over micro-batches; the weights of all tokens sum to 1. */
export class MomentSums {
  readonly #kind: SpaceKind;
  /** E x x^T: of the first channels, of the rest with the first, of the rest. */
  readonly #firstFirst: Float64Array;
  readonly #restFirst: Float64Array;
  readonly #restRest: Float64Array;
  readonly #mean: Float64Array;

  constructor(kind: SpaceKind, channels: number) {
    const { first, rest } = gramParts(channels);
    this.#kind = kind;
    this.#firstFirst = new Float64Array(first * first);
    this.#restFirst = new Float64Array(rest * first);
    this.#restRest = new Float64Array(rest * rest);
    this.#mean = new Float64Array(channels);
  }

  /** @param outputs - of the program `moments`; @param tokenWeight - of each of the tokens summed over */
  add(outputs: Outputs, tokenWeight: number): void {
    const sums = {
      firstFirst: this.#firstFirst,
      restFirst: this.#restFirst,
      restRest: this.#restRest,
      weighted: this.#mean,
    };
    for (const [name, sum] of Object.entries(sums)) {
      addScaled(sum, outputs[`${this.#kind}.${name}`]!.data, tokenWeight);
    }
  }

  /** The moments about the means. */
  finish(): SpaceMoments & { readonly covariance: Tensor } {
    const mean = this.#mean;
    const channels = mean.length;
    const { first, rest } = gramParts(channels);
    const squares = new Float64Array(channels);
    const data = new Float32Array(triangleLength(channels));
    for (let i = 0; i < channels; i++) {
      const row = triangleRow(i);
      for (let j = 0; j <= i; j++) {
        const product =
          i < first
            ? this.#firstFirst[i * first + j]!
            : j < first
              ? this.#restFirst[(i - first) * first + j]!
              : this.#restRest[(i - first) * rest + j - first]!;
        data[row + j] = product - mean[i]! * mean[j]!;
        if (j === i) squares[i] = product;
      }
    }
    return { mean, squares, covariance: { shape: [data.length], data } };
  }
}

/** Moments whose covariances are in a stash. */
export class StashedMoments {
  readonly spaces: Map<string, SpaceMoments> = new Map();
  readonly #covariances: StashedTensors;

  private constructor(memory: MemoryPolicy) {
    this.#covariances = new StashedTensors(() => stashFor(memory, "moments"));
  }

  /** @param saved - moments to begin with */
  static async open(memory: MemoryPolicy, saved: Moments = new Map()): Promise<StashedMoments> {
    const moments = new StashedMoments(memory);
    for (const [id, spaceMoments] of saved) await moments.set(id, spaceMoments);
    return moments;
  }

  async set(id: string, { mean, squares, covariance }: SpaceMoments): Promise<void> {
    await this.#covariances.set(id, covariance);
    this.spaces.set(id, { mean, squares, covariance: this.#covariances.tensors.get(id)! });
  }
}

/** target += factor * row, for every row of values. */
function addScaled(target: Float64Array, values: Float32Array, factor: number): void {
  const { length } = target;
  for (let start = 0; start < values.length; start += length) {
    const row = values.subarray(start, start + length);
    for (let i = 0; i < length; i++) target[i]! += factor * row[i]!;
  }
}
