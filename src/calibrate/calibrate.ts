/**
 * Runs calibration sets through the dense model layer by layer, once, and gathers everything that later stages need of
 * the inputs of output projections: activation statistics for metrics, and second moments for least squares.
 */

import { badArgument, requireCount } from "../base/arguments.ts";
import { plainName } from "../base/plain_text.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import {
  beginForward,
  type ForwardProgram,
  type ForwardState,
  forwardState,
  forwardStream,
  microBatches,
  type Stream,
  tokensOf,
} from "../graph/decoder/forward.ts";
import { collectIfGrown, stashFor } from "../graph/runtime/memory_policy.ts";
import { channelCount, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { LayerSums, type MeasuredBatch } from "./layer_sums.ts";
import { type Moments, StashedMoments } from "./moments.ts";
import { shardsOf } from "./shards.ts";
import { type CalibrationStats, CHANNEL_SUMS, emptyChannelStats } from "./stats.ts";

/** A named set of token windows. */
export interface TokenSet {
  readonly name: string;
  /** Windows of token ids, each [T]. */
  readonly windows: readonly Int32Array[];
  /** The set that this is a part of, for messages; the name when absent. */
  readonly partOf?: string;
}

/** A set and its weight. */
export interface WeightedTokenSet extends TokenSet {
  /** > 0, relative to the other sets. */
  readonly weight: number;
}

/** A set, and the statistics and moments that its windows belong to. */
export interface MeasuredSet extends TokenSet {
  /** Name of the statistics that each window belongs to, null for none; the name of the set when absent. */
  readonly owners?: readonly (string | null)[];
  /**
   * Number of leading windows that moments are taken over, and the weight of each of their tokens; none when absent.
   */
  readonly moments?: { readonly windows: number; readonly tokenWeight: number };
}

/** Progress, checkpoints and range of a calibration pass. */
export interface CalibrateOptions {
  readonly onProgress?: OnProgress;
  /** Saves the state between layers. */
  readonly checkpoints?: Checkpoints<CalibrationState>;
  /** The layer before which the pass ends, which leaves out that layer and all later ones; all layers when absent. */
  readonly end?: number;
}

/** Statistics and moments of the inputs of output projections. */
export interface Activations {
  /** Statistics of every owner of windows, by name. */
  readonly stats: ReadonlyMap<string, CalibrationStats>;
  /** Moments over the windows that are given a weight in them; empty where there are none. */
  readonly moments: Moments;
}

/** State of calibration between two layers. */
export interface CalibrationState extends ForwardState, Activations {}

/**
 * Statistics of every set at the inputs of every output projection.
 * @returns one entry per set, by name
 * @throws GpruneError as `measureActivations`
 */
export async function calibrate(
  runner: DecoderRunner,
  sets: readonly TokenSet[],
  options: CalibrateOptions = {},
): Promise<ReadonlyMap<string, CalibrationStats>> {
  return (await measureActivations(runner, sets, options)).stats;
}

/**
 * Statistics and moments in one pass. Holds one layer (with `prefetch` two), the sums of that layer, and the hidden
 * states and the moments of all layers unless the memory policy spills them.
 * @throws GpruneError NOT_FINITE when a layer's output is not finite, naming the tensor or layer and the set;
 *   BAD_ARGUMENT for two sets of one name, a window without tokens, another number of owners than of windows, or an
 *   `end` beyond the model's layers
 */
export async function measureActivations(
  runner: DecoderRunner,
  sets: readonly MeasuredSet[],
  { onProgress = silent, checkpoints = NO_CHECKPOINTS, end }: CalibrateOptions = {},
): Promise<Activations> {
  const { layers } = runner.model.spec;
  if (end !== undefined) requireCount("end", end, { least: 0, most: layers.length });
  const batches = sets.flatMap(measuredBatches);
  const stream = { batches, states: await stashFor(runner.memory, "calibrate") };
  const { stats, moments, from } = await begin(runner, { sets, stream, end }, checkpoints);
  const hasMoments = batches.some(({ tokenWeight }) => tokenWeight > 0);
  const sums = new LayerSums(runner.model.spec, stats);
  await forwardStream(runner, stream, {
    program: (batch) => programFor(batches[batch]!),
    feeds: (layer) => sums.begin(layer, hasMoments),
    stage: "calibrate",
    onProgress,
    from,
    end,
    onOutputs: (_, index, outputs) => {
      const batch = batches[index]!;
      sums.add(batch, outputs);
      if (batch.tokenWeight > 0) collectIfGrown(runner.memory);
    },
    onLayer: async (next) => {
      for (const [id, spaceMoments] of sums.takeMoments()) await moments.set(id, spaceMoments);
      await checkpoints.reached(() => ({ ...forwardState(next, stream), stats, moments: moments.spaces }));
    },
  });
  await stream.states.close();
  for (const set of sets) {
    for (const owner of ownersOf(set)) requireFiniteStats(set, stats.get(owner)!);
  }
  return { stats, moments: moments.spaces };
}

/** Empty sums and embeddings, or those of a saved state, whose hidden states are moved into the stream. */
async function begin(
  runner: DecoderRunner,
  {
    sets,
    stream,
    end,
  }: { readonly sets: readonly MeasuredSet[]; readonly stream: Stream; readonly end: number | undefined },
  checkpoints: Checkpoints<CalibrationState>,
): Promise<{
  readonly stats: ReadonlyMap<string, CalibrationStats>;
  readonly moments: StashedMoments;
  readonly from: number;
}> {
  const kept = await checkpoints.restore();
  const empty = emptyStats(runner.model.spec, sets, [kept?.next ?? 0, end]);
  return {
    stats: new Map([...empty, ...(kept?.stats ?? [])]),
    moments: await StashedMoments.open(runner.memory, kept?.moments),
    from: await beginForward(runner, stream, kept),
  };
}

/** Windows of a set that are summed by themselves (shards.ts), and the statistics and moments that they belong to. */
export interface MeasuredShard {
  readonly windows: readonly Int32Array[];
  /** Name of the statistics that each window belongs to; null for none. */
  readonly owners: readonly (string | null)[];
  /** Weight of each token in the moments; 0 for windows that moments are not taken over. */
  readonly tokenWeight: number;
}

/** A set's shards; windows with a weight in the moments share none with the others. */
export function measuredShards({ name, windows, owners, moments }: MeasuredSet): readonly MeasuredShard[] {
  const counted = moments?.windows ?? 0;
  let next = 0;
  const shardsWith = (part: readonly Int32Array[], tokenWeight: number): readonly MeasuredShard[] =>
    shardsOf(part).map((shard) => {
      next += shard.length;
      const shardOwners = owners?.slice(next - shard.length, next) ?? shard.map(() => name);
      return { windows: shard, owners: shardOwners, tokenWeight };
    });
  return [
    ...shardsWith(windows.slice(0, counted), moments?.tokenWeight ?? 0),
    ...shardsWith(windows.slice(counted), 0),
  ];
}

function measuredBatches(set: MeasuredSet): readonly MeasuredBatch[] {
  return measuredShards(set).flatMap(({ windows, owners, tokenWeight }) => {
    const batches = microBatches(windows, calibrationSetText(set));
    let next = 0;
    return batches.map((batch, index): MeasuredBatch => {
      next += batch.batch;
      const rows = owners.slice(next - batch.batch, next);
      return { ...batch, owners: rows, tokenWeight, endsShard: index === batches.length - 1 };
    });
  });
}

function programFor({ owners, tokenWeight }: MeasuredBatch): ForwardProgram {
  if (tokenWeight === 0) return "statistics";
  return owners.every((owner) => owner === null) ? "moments" : "statisticsAndMoments";
}

/** Names of all statistics that a set adds to. */
function ownersOf({ name, owners = [name] }: MeasuredSet): readonly string[] {
  return [...new Set(owners)].filter((owner) => owner !== null);
}

/** Zero sums of every owner, of the spaces of layers `first` to `end` (exclusive). */
function emptyStats(
  spec: ModelSpec,
  sets: readonly MeasuredSet[],
  [first, end = spec.layers.length]: readonly [number, number | undefined],
): ReadonlyMap<string, CalibrationStats> {
  const spaces = spacesOf(spec).filter(({ layer }) => layer >= first && layer < end);
  const result = new Map<string, CalibrationStats>();
  for (const set of sets) {
    const { name, windows, owners = windows.map(() => name) } = set;
    if (owners.length !== windows.length)
      throw badArgument(
        `owners of ${calibrationSetText(set)}`,
        `one for each of ${windows.length} windows`,
        owners.length,
      );
    for (const owner of ownersOf(set)) {
      if (result.has(owner)) throw badArgument("calibration sets", "different names", `${owner} twice`);
      const owned = windows.filter((_, index) => owners[index] === owner);
      result.set(owner, {
        tokens: tokensOf(owned),
        sequences: owned.length,
        spaces: new Map(spaces.map((space) => [space.id, emptyChannelStats(channelCount(space))])),
      });
    }
  }
  return result;
}

/** Name of a set in messages: `calibration set web`. */
export function calibrationSetText({ name, partOf = name }: Pick<TokenSet, "name" | "partOf">): string {
  return `calibration set ${plainName(partOf)}`;
}

/** @throws GpruneError NOT_FINITE when activations are finite but their sums of squares are not */
function requireFiniteStats(set: TokenSet, { spaces }: CalibrationStats): void {
  for (const [id, sums] of spaces) {
    if (CHANNEL_SUMS.every((key) => sums[key].every(Number.isFinite))) continue;
    throw new GpruneError(
      "NOT_FINITE",
      `statistics of ${id}: expected finite sums, got NaN or infinity, on ${calibrationSetText(set)}`,
      {
        hint: "The squared activations overflow float32; check the checkpoint and the texts.",
      },
    );
  }
}
