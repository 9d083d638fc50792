/**
 * Sums over micro-batches in the layer that they are going through: statistics by owner, and moments of all together.
 */

import { getOrMake } from "../base/map_values.ts";
import type { LoadedLayer, Outputs } from "../graph/decoder/decoder_runner.ts";
import type { TokenBatch } from "../graph/decoder/forward.ts";
import type { Feeds } from "../graph/runtime/runtime.ts";
import { channelCount, type Space, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { SpaceKind } from "../model/weights.ts";
import { MomentSums, momentFeeds, type SpaceMoments } from "./moments.ts";
import { type CalibrationStats, CHANNEL_SUMS, type ChannelStats, emptyChannelStats } from "./stats.ts";

/** A micro-batch, and the statistics and moments that it belongs to. */
export interface MeasuredBatch extends TokenBatch {
  /** Name of the statistics that each of its sequences belongs to; null for none. */
  readonly owners: readonly (string | null)[];
  /** Weight of each of its tokens in the moments; 0 when moments are not taken over it. */
  readonly tokenWeight: number;
  /** Whether it is the last one of its shard. */
  readonly endsShard: boolean;
}

/** Sums of one layer at a time. */
export class LayerSums {
  readonly #spec: ModelSpec;
  readonly #stats: ReadonlyMap<string, CalibrationStats>;
  #spaces: readonly Space[] = [];
  #moments: readonly MomentSums[] = [];
  /** Sums of the current shard by owner and kind: each shard is summed by itself, as when machines have one each. */
  readonly #partial = new Map<string, Map<SpaceKind, ChannelStats>>();

  /** @param stats - of every owner, which shards are added to */
  constructor(spec: ModelSpec, stats: ReadonlyMap<string, CalibrationStats>) {
    this.#spec = spec;
    this.#stats = stats;
  }

  /** Begins a layer. @returns the inputs of the program `moments`; none without moments */
  begin({ index }: Pick<LoadedLayer, "index">, hasMoments: boolean): Feeds {
    this.#spaces = spacesOf(this.#spec).filter(({ layer }) => layer === index);
    if (!hasMoments) return {};
    this.#moments = this.#spaces.map((space) => new MomentSums(space.kind, channelCount(space), space.parts));
    const feeds = this.#spaces.map((space) => momentFeeds(space.kind, channelCount(space), space.parts));
    return Object.assign({}, ...feeds);
  }

  /** Adds the outputs of the layer's program for a micro-batch. */
  add(batch: MeasuredBatch, outputs: Outputs): void {
    for (const space of this.#spaces) this.#addStatistics(space, batch, outputs);
    if (batch.tokenWeight > 0) for (const sums of this.#moments) sums.add(outputs, batch.tokenWeight);
    if (batch.endsShard) this.#flush();
  }

  /** Removes and returns the layer's moments by space id; none without moments. */
  *takeMoments(): Generator<readonly [string, SpaceMoments]> {
    for (const [index, sums] of this.#moments.entries()) yield [this.#spaces[index]!.id, sums.finish()];
    this.#moments = [];
  }

  /** Adds per-sequence sums, [B, 1, channels] each, in float64. */
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
    const byKind = getOrMake(this.#partial, owner, () => new Map<SpaceKind, ChannelStats>());
    return getOrMake(byKind, kind, () => emptyChannelStats(channels));
  }

  /** Adds the shard's sums to those of their owners, and clears them. */
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
