/**
 * Second moments of the inputs of output projections, over weighted texts in the dense model. Least squares with any
 * choice of units needs nothing else, so one pass over the texts serves every fit.
 *
 * Sums over micro-batches are float64; the results are covariances in float32, of which only the lower triangle is
 * stored. Tokens of a micro-batch are weighted by the inverse root mean square of the residual stream (the program
 * `moments`).
 */
import { mapValues } from "../base/map_values.ts";
import type { Outputs } from "../graph/decoder/decoder_runner.ts";
import { GRAM_STRIPS } from "../graph/decoder/programs.ts";
import { type MemoryPolicy, stashFor } from "../graph/runtime/memory_policy.ts";
import type { Feeds } from "../graph/runtime/runtime.ts";
import type { SpaceKind } from "../model/weights.ts";
import { type AnyTensor, StashedTensors } from "../tensor/stash.ts";
import { triangleLength, triangleRow } from "../tensor/symmetric.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Moments of the n channels x of one space; those of its parts (`Space`), one after another, are not related. */
export interface SpaceMoments {
  /** E x, [n]. */
  readonly mean: Float64Array;
  /** E x^2, [n]. */
  readonly squares: Float64Array;
  /** cov(x, x) of every part, their lower triangles (tensor/symmetric.ts), [n (n + 1) / 2] each. */
  readonly covariance: AnyTensor;
}

/** Moments by space id. */
export type Moments = ReadonlyMap<string, SpaceMoments>;

/** Consecutive rows of a lower triangle, with the columns of the last of them. */
interface GramStrip {
  readonly rows: number;
  readonly columns: number;
}

/** Rows of a strip, at least: with fewer, cutting a strip out takes longer than the products that it saves. */
const MIN_STRIP_ROWS = 384;
/** Strips in use, at least, however few rows they have. */
const MIN_STRIPS = 4;

/**
 * The strips in which the Gram matrix of some channels is computed, nearly all of equal height: together they cover the
 * lower triangle. There are always `GRAM_STRIPS`, as the program has, and none is empty, which a device may refuse:
 * those that are not needed compute the first row, and with very few channels some compute the same row.
 */
export function gramStrips(channels: number): readonly GramStrip[] {
  const needed = Math.min(Math.max(Math.floor(channels / MIN_STRIP_ROWS), MIN_STRIPS), GRAM_STRIPS);
  const first = GRAM_STRIPS - needed;
  const end = (strip: number): number => Math.ceil((channels * Math.max(0, strip + 1 - first)) / needed);
  return Array.from({ length: GRAM_STRIPS }, (_, strip) => ({
    rows: Math.max(1, end(strip) - end(strip - 1)),
    columns: Math.max(1, end(strip)),
  }));
}

/** Sizes of the strips by the names that they have in the program `moments`, of channels in equal parts. */
export function momentSizes(
  kind: SpaceKind,
  channels: number,
  parts: number = 1,
): Readonly<Record<string, number>> {
  return Object.fromEntries(
    gramStrips(channels / parts).flatMap(({ rows, columns }, strip) => [
      [`${kind}.rows${strip}`, rows],
      [`${kind}.columns${strip}`, columns],
    ]),
  );
}

/** Inputs of the program `moments` for a space: tensors whose lengths are the sizes of the strips. */
export function momentFeeds(kind: SpaceKind, channels: number, parts: number = 1): Feeds {
  const ofLength = (length: number): Feeds[string] => ({ shape: [length], data: new Int32Array(length) });
  return mapValues(momentSizes(kind, channels, parts), ofLength);
}

/** Sums of one space over micro-batches; the weights of all tokens sum to 1. */
export class MomentSums {
  readonly #kind: SpaceKind;
  readonly #strips: readonly GramStrip[];
  readonly #parts: number;
  /** E x x^T by strip, [parts, rows, columns] each. */
  readonly #products: readonly Float64Array[];
  readonly #mean: Float64Array;

  constructor(kind: SpaceKind, channels: number, parts: number = 1) {
    this.#kind = kind;
    this.#parts = parts;
    this.#strips = gramStrips(channels / parts);
    this.#products = this.#strips.map(({ rows, columns }) => new Float64Array(parts * rows * columns));
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
    const size = mean.length / this.#parts;
    const data = new Float32Array(this.#parts * triangleLength(size));
    for (let part = 0; part < this.#parts; part++) {
      this.#finishPart(part, {
        mean: mean.subarray(part * size, (part + 1) * size),
        squares: squares.subarray(part * size, (part + 1) * size),
        data: data.subarray(part * triangleLength(size)),
      });
    }
    return { mean, squares, covariance: { shape: [data.length], data } };
  }

  #finishPart(
    part: number,
    {
      mean,
      squares,
      data,
    }: { readonly mean: Float64Array; readonly squares: Float64Array; readonly data: Float32Array },
  ): void {
    for (const [strip, { rows, columns }] of this.#strips.entries()) {
      const products = this.#products[strip]!.subarray(part * rows * columns);
      for (let i = columns - rows; i < columns; i++) {
        const [source, target] = [(i - columns + rows) * columns, triangleRow(i)];
        for (let j = 0; j <= i; j++) data[target + j] = products[source + j]! - mean[i]! * mean[j]!;
        squares[i] = products[source + i]!;
      }
    }
  }
}

/** The moments of one of the equal parts of a space's channels. */
export function momentsOfPart(
  { mean, squares, covariance: { data } }: SpaceMoments & { readonly covariance: Tensor },
  part: number,
  parts: number,
): SpaceMoments {
  const size = mean.length / parts;
  const length = triangleLength(size);
  return {
    mean: mean.subarray(part * size, (part + 1) * size),
    squares: squares.subarray(part * size, (part + 1) * size),
    covariance: { shape: [length], data: data.subarray(part * length, (part + 1) * length) },
  };
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

/** target += factor * row, for every row of values. @param values - [rows, length of the target] */
export function addScaled(target: Float64Array, values: Float32Array, factor: number): void {
  const { length } = target;
  for (let start = 0; start < values.length; start += length) {
    const row = values.subarray(start, start + length);
    for (let i = 0; i < length; i++) target[i]! += factor * row[i]!;
  }
}
