/**
 * Sums of what micro-batches give in the layer that they are going through: statistics by owner, and moments of all
 * together.
 */

import { getOrMake } from "../base/map_values.ts";
import type { LoadedLayer, Outputs } from "../graph/decoder/decoder_runner.ts";
import type { TokenBatch } from "../graph/decoder/forward.ts";
import type { Feeds } from "../graph/runtime/runtime.ts";
import { channelCount, type Space, type SpaceKind, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { MomentSums, momentFeeds, type SpaceMoments } from "./moments.ts";
import { type CalibrationStats, CHANNEL_SUMS, type ChannelStats, emptyChannelStats } from "./stats.ts";

/** A micro-batch, and what it is measured for. */
export interface MeasuredBatch extends TokenBatch {
  /** Whose statistics each of its sequences belongs to; null for none. */
  readonly owners: readonly (string | null)[];
  /** What each of its tokens counts in the moments; 0 when it has no part in them. */
  readonly tokenWeight: number;
  /** Whether it is the last one of its shard. */
  readonly endsShard: boolean;
}

/** Sums of one layer after the other. */
export class LayerSums {
  readonly #spec: ModelSpec;
  readonly #stats: ReadonlyMap<string, CalibrationStats>;
  #spaces: readonly Space[] = [];
  #moments: readonly MomentSums[] = [];
  /** Sums of the shard at hand by owner and kind: shards are added up apart, as machines do that have one each. */
  readonly #partial = new Map<string, Map<SpaceKind, ChannelStats>>();

  /** @param stats - of every owner, which shards are added to */
  constructor(spec: ModelSpec, stats: ReadonlyMap<string, CalibrationStats>) {
    this.#spec = spec;
    this.#stats = stats;
  }

  /** Turns to a layer. @returns what the program `moments` wants to know of it */
  begin({ index }: Pick<LoadedLayer, "index">, hasMoments: boolean): Feeds {
    this.#spaces = spacesOf(this.#spec).filter(({ layer }) => layer === index);
    if (!hasMoments) return {};
    this.#moments = this.#spaces.map((space) => new MomentSums(space.kind, channelCount(space)));
    return Object.assign({}, ...this.#spaces.map((space) => momentFeeds(space.kind, channelCount(space))));
  }

  /** Adds what the layer's program gave for a micro-batch. */
  add(batch: MeasuredBatch, outputs: Outputs): void {
    for (const space of this.#spaces) this.#addStatistics(space, batch, outputs);
    if (batch.tokenWeight > 0) for (const sums of this.#moments) sums.add(outputs, batch.tokenWeight);
    if (batch.endsShard) this.#flush();
  }

  /** The layer's moments by space, whose sums are forgotten; none where there are none. */
  *takeMoments(): Generator<readonly [string, SpaceMoments]> {
    for (const [index, sums] of this.#moments.entries()) yield [this.#spaces[index]!.id, sums.finish()];
    this.#moments = [];
  }

  /** Per-sequence sums, [B, 1, channels] each, in float64. */
  #addStatistics({ kind }: Space, { owners, tokens }: MeasuredBatch, outputs: Outputs): void {
    for (const [row, owner] of owners.entries()) {
      if (owner === null) continue;
      const channels = outputs[`${kind}.sum`]!.shape.at(-1)!;
      const sums = this.#partialOf(owner, kind, channels);
      const add = (target: Float64Array, name: string, map = (value: number): number => value): void => {
        const values = outputs[`${kind}.${name}`]!.data.subarray(row * channels, (row + 1) * channels);
        for (let j = 0; j < channels; j++) target[j]! += map(values[j]!);
      };
      add(sums.sum, "sum");
      add(sums.sumSquares, "squares");
      add(sums.sumMeanAbsSquared, "abs", (sum) => (sum / tokens) ** 2);
    }
  }

  #partialOf(owner: string, kind: SpaceKind, channels: number): ChannelStats {
    const own = getOrMake(this.#partial, owner, () => new Map<SpaceKind, ChannelStats>());
    return getOrMake(own, kind, () => emptyChannelStats(channels));
  }

  /** Adds the shard's sums to those of their owners and forgets them. */
  #flush(): void {
    for (const [owner, partial] of this.#partial) {
      for (const { id, kind } of this.#spaces) {
        const [total, sums] = [this.#stats.get(owner)!.spaces.get(id)!, partial.get(kind)!];
        for (const key of CHANNEL_SUMS) {
          for (let j = 0; j < sums[key].length; j++) total[key][j]! += sums[key][j]!;
        }
      }
    }
    this.#partial.clear();
  }
}
