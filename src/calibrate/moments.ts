/**
 * Second moments of what goes into an output projection, over weighted texts in the dense model: all that least squares
 * of any choice of units needs to know, so one pass over the texts serves every fit.
 *
 * Sums over micro-batches are float64; what is kept are covariances about the means, as float32, of which only the
 * lower triangle is there. Tokens of a micro-batch count by the inverse of their size in the stream (the program
 * `moments`).
 */
import type { Outputs } from "../graph/decoder/decoder_runner.ts";
import { GRAM_STRIPS } from "../graph/decoder/programs.ts";
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

/** By space id. */
export type Moments = ReadonlyMap<string, SpaceMoments>;

/** Some rows of a lower triangle, with the columns that the last of them has. */
interface GramStrip {
  readonly rows: number;
  readonly columns: number;
}

/**
 * The strips of rows in which the products of some channels are computed, `GRAM_STRIPS` of nearly equal height: together
 * they cover the lower triangle and little more. No strip is empty, which a device may refuse: where there are fewer
 * channels than strips, some compute the same row.
 */
export function gramStrips(channels: number): readonly GramStrip[] {
  const end = (strip: number): number => Math.ceil((channels * strip) / GRAM_STRIPS);
  return Array.from({ length: GRAM_STRIPS }, (_, strip) => ({
    rows: Math.max(1, end(strip + 1) - end(strip)),
    columns: end(strip + 1),
  }));
}

/** Inputs of the program `moments` for the channels of a space: their lengths are the sizes of the strips. */
export function momentFeeds(kind: SpaceKind, channels: number): Feeds {
  const ofLength = (length: number): Feeds[string] => ({ shape: [length], data: new Int32Array(length) });
  return Object.fromEntries(
    gramStrips(channels).flatMap(({ rows, columns }, strip) => [
      [`${kind}.rows${strip}`, ofLength(rows)],
      [`${kind}.columns${strip}`, ofLength(columns)],
    ]),
  );
}

/** Sums over the micro-batches of one space; the weights of all tokens sum to 1. */
export class MomentSums {
  readonly #kind: SpaceKind;
  readonly #strips: readonly GramStrip[];
  /** E x x^T by strip, [rows, columns] each. */
  readonly #products: readonly Float64Array[];
  readonly #mean: Float64Array;

  constructor(kind: SpaceKind, channels: number) {
    this.#kind = kind;
    this.#strips = gramStrips(channels);
    this.#products = this.#strips.map(({ rows, columns }) => new Float64Array(rows * columns));
    this.#mean = new Float64Array(channels);
  }

  /** @param outputs - of the program `moments`; @param tokenWeight - of each of the tokens summed over */
  add(outputs: Outputs, tokenWeight: number): void {
    const addOutput = (sum: Float64Array, name: string): void => {
      addScaled(sum, outputs[`${this.#kind}.${name}`]!.data, tokenWeight);
    };
    for (const [strip, sum] of this.#products.entries()) addOutput(sum, `products${strip}`);
    addOutput(this.#mean, "weighted");
  }

  /** The moments about the means. */
  finish(): SpaceMoments & { readonly covariance: Tensor } {
    const mean = this.#mean;
    const squares = new Float64Array(mean.length);
    const data = new Float32Array(triangleLength(mean.length));
    for (const [strip, { rows, columns }] of this.#strips.entries()) {
      const products = this.#products[strip]!;
      for (let i = columns - rows; i < columns; i++) {
        const [source, target] = [(i - columns + rows) * columns, triangleRow(i)];
        for (let j = 0; j <= i; j++) data[target + j] = products[source + j]! - mean[i]! * mean[j]!;
        squares[i] = products[source + i]!;
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

  /** @param known - moments that are there already */
  static async open(memory: MemoryPolicy, known: Moments = new Map()): Promise<StashedMoments> {
    const moments = new StashedMoments(memory);
    for (const [id, own] of known) await moments.set(id, own);
    return moments;
  }

  async set(id: string, { covariance, ...rest }: SpaceMoments): Promise<void> {
    await this.#covariances.set(id, covariance);
    this.spaces.set(id, { ...rest, covariance: this.#covariances.tensors.get(id)! });
  }
}

/** target += factor * values; several rows of values are added up in the target's one. */
function addScaled(target: Float64Array, values: Float32Array, factor: number): void {
  const { length } = target;
  for (let start = 0; start < values.length; start += length) {
    const row = values.subarray(start, start + length);
    for (let i = 0; i < length; i++) target[i]! += factor * row[i]!;
  }
}
