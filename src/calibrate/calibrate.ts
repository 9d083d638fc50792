/** Runs calibration sets through a model layer by layer and gathers the statistics that metrics need. */
import { GpruneError, internalError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder_runner.ts";
import {
  beginForward,
  type ForwardState,
  forwardState,
  forwardStream,
  microBatches,
  type TokenBatch,
} from "../graph/forward.ts";
import { hiddenStash } from "../graph/memory_policy.ts";
import { type SpaceKind, spaceId, spacesOf } from "../model/spaces.ts";
import { plainName } from "../plain_text.ts";
import { type OnProgress, silent } from "../progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../stages.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { shardsOf } from "./shards.ts";
import { type CalibrationStats, CHANNEL_SUMS, type ChannelStats, emptyChannelStats } from "./stats.ts";

/** A named set of token windows. */
export interface TokenSet {
  readonly name: string;
  /** Windows of token ids, each [T]. */
  readonly windows: readonly Int32Array[];
  /** The set that this is a part of, for messages; the name when absent. */
  readonly partOf?: string;
}

export interface CalibrateOptions {
  readonly onProgress?: OnProgress;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<CalibrationState>;
  /** The layer before which calibration ends; statistics are those of the layers it went through. */
  readonly end?: number;
}

/** Where calibration stands between two layers. */
export interface CalibrationState extends ForwardState {
  readonly stats: ReadonlyMap<string, CalibrationStats>;
}

/**
 * Statistics of every set at the inputs of every output projection.
 * @returns one entry per set, by name
 * @throws GpruneError NOT_FINITE when a layer's output is not finite, naming the tensor or layer and the set
 */
export async function calibrate(
  runner: DecoderRunner,
  sets: readonly TokenSet[],
  { onProgress = silent, checkpoints = NO_CHECKPOINTS, end }: CalibrateOptions = {},
): Promise<ReadonlyMap<string, CalibrationStats>> {
  const batches: TokenBatch[] = [];
  const places: BatchPlace[] = [];
  const kept = await checkpoints.restore();
  const stats = new Map<string, CalibrationStats>(kept?.stats);
  const seen = new Set<string>();
  for (const set of sets) {
    if (seen.has(set.name)) throw internalError(`two calibration sets named ${set.name}`);
    seen.add(set.name);
    if (!stats.has(set.name)) stats.set(set.name, emptyStats(runner, set, [kept?.next ?? 0, end]));
    for (const shard of shardsOf(set.windows)) {
      const own = microBatches(shard, textsOf(set));
      batches.push(...own);
      places.push(...own.map((_, index) => ({ set: set.name, endsShard: index === own.length - 1 })));
    }
  }
  const stream = { batches, states: await hiddenStash(runner.memory, "calibrate") };
  const partial = new PartialSums();
  await forwardStream(runner, stream, {
    program: "statistics",
    stage: "calibrate",
    onProgress,
    from: await beginForward(runner, stream, kept),
    end,
    onLayer: (next) => checkpoints.reached(() => ({ ...forwardState(next, stream), stats })),
    onOutputs: (layer, batch, outputs) => {
      const { set, endsShard } = places[batch]!;
      for (const kind of ["kv", "ffn"] as const) {
        const sums = stats.get(set)!.spaces.get(spaceId(layer.index, kind))!;
        addOutputs(partial.of(kind, sums), outputs, { kind, tokens: batches[batch]!.tokens });
        if (endsShard) partial.flush(kind, sums);
      }
    },
  });
  await stream.states.close();
  for (const set of sets) requireFiniteStats(set, stats.get(set.name)!);
  return stats;
}

/** Whose micro-batch it is, and whether it is the last one of its shard. */
interface BatchPlace {
  readonly set: string;
  readonly endsShard: boolean;
}

/** Sums of the shard at hand in one layer: shards are added up apart, as machines do that have one each. */
class PartialSums {
  readonly #sums = new Map<SpaceKind, ChannelStats>();

  /** @param total - what they will be added to */
  of(kind: SpaceKind, total: ChannelStats): ChannelStats {
    const sums = this.#sums.get(kind) ?? emptyChannelStats(total.sum.length);
    this.#sums.set(kind, sums);
    return sums;
  }

  /** Adds the shard's sums to those of its set and forgets them. */
  flush(kind: SpaceKind, total: ChannelStats): void {
    const sums = this.of(kind, total);
    this.#sums.delete(kind);
    for (const key of CHANNEL_SUMS) {
      for (let j = 0; j < sums[key].length; j++) total[key][j]! += sums[key][j]!;
    }
  }
}

/** `calibration set web` */
export function textsOf({ name, partOf = name }: Pick<TokenSet, "name" | "partOf">): string {
  return `calibration set ${plainName(partOf)}`;
}

/** @throws GpruneError NOT_FINITE when activations are finite but their sums of squares are not */
function requireFiniteStats(set: TokenSet, { spaces }: CalibrationStats): void {
  for (const [id, sums] of spaces) {
    if (CHANNEL_SUMS.every((key) => sums[key].every(Number.isFinite))) continue;
    throw new GpruneError(
      "NOT_FINITE",
      `statistics of ${id}: expected finite sums, got NaN or infinity, on ${textsOf(set)}`,
      {
        hint: "Its activations are so large that their squares exceed float32; check the checkpoint and the texts.",
      },
    );
  }
}

/** Zero sums of the spaces of layers `first` to `end` (exclusive). */
function emptyStats(
  { model: { spec } }: DecoderRunner,
  { windows }: TokenSet,
  [first, end = spec.layers.length]: readonly [number, number | undefined],
): CalibrationStats {
  const spaces = spacesOf(spec)
    .filter(({ layer }) => layer >= first && layer < end)
    .map(({ id, units, unitChannels }) => [id, emptyChannelStats(units * unitChannels)] as const);
  const tokens = windows.reduce((sum, window) => sum + window.length, 0);
  return { tokens, sequences: windows.length, spaces: new Map(spaces) };
}

/** Adds one micro-batch's per-sequence sums, [B, 1, channels] each, in float64. */
function addOutputs(
  sums: ChannelStats,
  outputs: Readonly<Record<string, Tensor>>,
  { kind, tokens }: { readonly kind: SpaceKind; readonly tokens: number },
): void {
  const channels = sums.sum.length;
  const add = (
    target: Float64Array,
    name: string,
    map: (value: number) => number = (value) => value,
  ): void => {
    const { data } = outputs[`${kind}.${name}`]!;
    for (let i = 0; i < data.length; i++) target[i % channels]! += map(data[i]!);
  };
  add(sums.sum, "sum");
  add(sums.sumSquares, "squares");
  add(sums.sumMeanAbsSquared, "abs", (sum) => (sum / tokens) ** 2);
  add(sums.fired, "fired");
}
