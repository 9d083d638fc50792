/**
 * Runs calibration sets through the dense model layer by layer, once, and gathers all that anybody wants to know of
 * what goes into its output projections: the statistics that metrics need, and the moments that least squares needs.
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
import { collectIfTight, stashFor } from "../graph/runtime/memory_policy.ts";
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

/** A set and how much it counts. */
export interface WeightedTokenSet extends TokenSet {
  /** > 0, relative to the other sets. */
  readonly weight: number;
}

/** A set, and what its windows are measured for. */
export interface MeasuredSet extends TokenSet {
  /** Whose statistics each window belongs to, by name; null for none. All are the set's own when absent. */
  readonly owners?: readonly (string | null)[];
  /** How many windows, the first ones, count in the moments, and what each of their tokens counts; none when absent. */
  readonly moments?: { readonly windows: number; readonly tokenWeight: number };
}

/** How far a pass over calibration sets goes, who hears of it, and what keeps it. */
export interface CalibrateOptions {
  readonly onProgress?: OnProgress;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<CalibrationState>;
  /** The layer before which calibration ends; what it gives is that of the layers it went through. */
  readonly end?: number;
}

/** What goes into the output projections. */
export interface Activations {
  /** Statistics of every owner of windows, by name. */
  readonly stats: ReadonlyMap<string, CalibrationStats>;
  /** Moments over all windows that count in them; none where none do. */
  readonly moments: Moments;
}

/** Where calibration stands between two layers. */
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
 * One pass. Holds one layer, perhaps the next one, the sums of that layer, and the hidden states and the moments of all
 * layers unless the memory policy puts them elsewhere.
 * @throws GpruneError NOT_FINITE when a layer's output is not finite, naming the tensor or layer and the set;
 *   BAD_ARGUMENT for two sets of one name, a window without tokens, as many owners as there are no windows, or an end
 *   that is none of the model's
 */
export async function measureActivations(
  runner: DecoderRunner,
  sets: readonly MeasuredSet[],
  { onProgress = silent, checkpoints = NO_CHECKPOINTS, end }: CalibrateOptions = {},
): Promise<Activations> {
  const { layers } = runner.model.spec;
  if (end !== undefined) requireCount("end", end, 0);
  if (end !== undefined && end > layers.length)
    throw badArgument("end", `at most ${layers.length} layers`, end);
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
    onOutputs: (_, place, outputs) => {
      const batch = batches[place]!;
      sums.add(batch, outputs);
      if (batch.tokenWeight > 0) collectIfTight(runner.memory);
    },
    onLayer: async (next) => {
      for (const [id, own] of sums.takeMoments()) await moments.set(id, own);
      await checkpoints.reached(() => ({ ...forwardState(next, stream), stats, moments: moments.spaces }));
    },
  });
  await stream.states.close();
  for (const set of sets) {
    for (const owner of ownersOf(set)) requireFiniteStats(set, stats.get(owner)!);
  }
  return { stats, moments: moments.spaces };
}

/**
 * Sums that nothing has been added to, or what was kept, whose hidden states go into the stream and stay nowhere else.
 */
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

/** Windows of a set that are added up apart (shards.ts), and what they are measured for. */
export interface MeasuredShard {
  readonly windows: readonly Int32Array[];
  /** Whose statistics each window belongs to; null for none. */
  readonly owners: readonly (string | null)[];
  /** What each token counts in the moments; 0 for windows that have no part in them. */
  readonly tokenWeight: number;
}

/** A set's shards; windows that count in the moments do not share one with others. */
export function measuredShards({ name, windows, owners, moments }: MeasuredSet): readonly MeasuredShard[] {
  const counted = moments?.windows ?? 0;
  let next = 0;
  const shardsAs = (some: readonly Int32Array[], tokenWeight: number): readonly MeasuredShard[] =>
    shardsOf(some).map((shard) => {
      next += shard.length;
      const own = owners?.slice(next - shard.length, next) ?? shard.map(() => name);
      return { windows: shard, owners: own, tokenWeight };
    });
  return [
    ...shardsAs(windows.slice(0, counted), moments?.tokenWeight ?? 0),
    ...shardsAs(windows.slice(counted), 0),
  ];
}

function measuredBatches(set: MeasuredSet): readonly MeasuredBatch[] {
  return measuredShards(set).flatMap(({ windows, owners, tokenWeight }) => {
    const batches = microBatches(windows, textsOfSet(set));
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

/** Everybody whose statistics a set adds to. */
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
        `owners of ${textsOfSet(set)}`,
        `one for each of ${windows.length} windows`,
        owners.length,
      );
    for (const owner of ownersOf(set)) {
      if (result.has(owner)) throw badArgument("calibration sets", "different names", `${owner} twice`);
      const own = windows.filter((_, place) => owners[place] === owner);
      result.set(owner, {
        tokens: tokensOf(own),
        sequences: own.length,
        spaces: new Map(spaces.map((space) => [space.id, emptyChannelStats(channelCount(space))])),
      });
    }
  }
  return result;
}

/** `calibration set web` */
export function textsOfSet({ name, partOf = name }: Pick<TokenSet, "name" | "partOf">): string {
  return `calibration set ${plainName(partOf)}`;
}

/** @throws GpruneError NOT_FINITE when activations are finite but their sums of squares are not */
function requireFiniteStats(set: TokenSet, { spaces }: CalibrationStats): void {
  for (const [id, sums] of spaces) {
    if (CHANNEL_SUMS.every((key) => sums[key].every(Number.isFinite))) continue;
    throw new GpruneError(
      "NOT_FINITE",
      `statistics of ${id}: expected finite sums, got NaN or infinity, on ${textsOfSet(set)}`,
      {
        hint: "Its activations are so large that their squares exceed float32; check the checkpoint and the texts.",
      },
    );
  }
}
