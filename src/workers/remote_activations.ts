/**
 * Statistics and moments computed by workers. Every shard of windows goes through the ranges of layers by itself, one
 * statistics unit after the other; then one moments unit for each range takes all shards that count in the moments
 * through it.
 */

import type { OnProgress } from "../base/progress.ts";
import { type MeasuredSet, type MeasuredShard, measuredShards } from "../calibrate/calibrate.ts";
import type { Moments } from "../calibrate/moments.ts";
import { type CalibrationStats, type ChannelStats, mergeStats } from "../calibrate/stats.ts";
import { tokensOf, tokensOfSets } from "../graph/decoder/forward.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { keepValue } from "../io/store/store.ts";
import type { RemoteActivations } from "../recover/passes.ts";
import { momentsFrom } from "./kept_moments.ts";
import { handled, type Remote, rangesOf, valueWithTensors } from "./remote.ts";
import type { LayerRange, MomentShard, MomentsUnit, OwnedWindows, StatisticsUnit } from "./unit.ts";
import { UnitProgress } from "./unit_progress.ts";

/** A shard, the name of its set, and its statistics units, one for each range of layers. */
interface ShardUnits extends MeasuredShard {
  readonly set: string;
  readonly units: readonly StatisticsUnit[];
}

/** Called with tokens times layers that a unit has computed. */
type OnPassed = (tokenLayers: number) => void;

/** As `measureActivations`. */
export function remoteActivations(
  remote: Remote,
  sets: readonly MeasuredSet[],
  onProgress: OnProgress,
): Promise<RemoteActivations> {
  const shards = sets.flatMap((set) => measuredShards(set).map((shard) => ({ ...shard, set })));
  const total = tokensOfSets(shards);
  const facts = { stage: "calibrate", total, unit: "tokens", onProgress };
  const progress = new UnitProgress(remote.dispatcher, facts);
  const work = shards.reduce((sum, shard) => sum + tokensOf(shard.windows) * layersFor(remote, shard), 0);
  const onPassed: OnPassed = (tokenLayers) => progress.advance((tokenLayers * total) / work);
  return progress.during(async () => {
    const computed: Promise<ShardUnits>[] = [];
    for (const { set, ...shard } of shards) {
      const { name, partOf = name } = set;
      const { windows, owners } = shard;
      const owned: OwnedWindows = { set: partOf, windows, owners };
      // One after another: each is a file or an upload of its own.
      const kept = await keepValue(remote.store, owned);
      computed.push(handled(throughLayers(remote, { shard: { ...shard, set: partOf }, kept, onPassed })));
    }
    const stats = await joinedStats(remote, computed);
    const counted = (await Promise.all(computed)).filter(({ tokenWeight }) => tokenWeight > 0);
    return {
      stats,
      moments: counted.length === 0 ? new Map() : await remoteMoments(remote, counted, onPassed),
    };
  });
}

/** Number of layers that a shard goes through in units of both kinds. */
function layersFor(remote: Remote, { owners, tokenWeight }: MeasuredShard): number {
  const { length } = remote.spec.layers;
  const forStatistics = isOwned(owners) ? length : rangesOf(remote).at(-1)!.first;
  return forStatistics + (tokenWeight > 0 ? length : 0);
}

function isOwned(owners: MeasuredShard["owners"]): boolean {
  return owners.some((owner) => owner !== null);
}

interface ShardOrder {
  readonly shard: Omit<ShardUnits, "units">;
  /** Object with its windows. */
  readonly kept: Digest;
  readonly onPassed: OnPassed;
}

/**
 * Takes a shard through the layers, one range after the other. The last range is left out where statistics of no window
 * are wanted: its input is enough for the moments.
 */
async function throughLayers(remote: Remote, { shard, kept, onPassed }: ShardOrder): Promise<ShardUnits> {
  const { windows, owners } = shard;
  const units: StatisticsUnit[] = [];
  const ranges = rangesOf(remote);
  let hidden: Digest | null = null;
  for (const [index, { first, end }] of ranges.entries()) {
    const unit: StatisticsUnit = {
      kind: "statistics",
      hashes: remote.hashes,
      windows: kept,
      first,
      end,
      hidden,
    };
    units.push(unit);
    if (index === ranges.length - 1 && !isOwned(owners)) break;
    hidden = await hiddenAfter(remote, unit);
    onPassed(tokensOf(windows) * (end - first));
  }
  return { ...shard, units };
}

/** Hidden states after a unit; computed again when the store has lost those of an earlier run. */
async function hiddenAfter({ dispatcher, store }: Remote, unit: StatisticsUnit): Promise<Digest | null> {
  const { hidden } = await dispatcher.result(unit);
  if (hidden === undefined || (await store.has(hidden))) return hidden ?? null;
  await dispatcher.forget(unit);
  return (await dispatcher.result(unit)).hidden ?? null;
}

/** Statistics of every owner, with shards added up in the order in which one process adds them up. */
async function joinedStats(
  { dispatcher }: Remote,
  shards: readonly Promise<ShardUnits>[],
): Promise<ReadonlyMap<string, CalibrationStats>> {
  const result = new Map<string, CalibrationStats>();
  for (const shard of shards) {
    const { owners, units } = await shard;
    if (!isOwned(owners)) continue;
    const ranges: ReadonlyMap<string, CalibrationStats>[] = [];
    for (const unit of units) {
      ranges.push((await dispatcher.value(unit, "stats")) as ReadonlyMap<string, CalibrationStats>);
    }
    for (const owner of ranges[0]!.keys()) {
      const stats = joined(ranges.map((range) => range.get(owner)!));
      const sum = result.get(owner);
      result.set(owner, sum === undefined ? stats : mergeStats(sum, stats));
    }
  }
  return result;
}

/** Statistics of consecutive ranges of layers as one value. */
function joined(ranges: readonly CalibrationStats[]): CalibrationStats {
  const spaces = new Map<string, ChannelStats>(ranges.flatMap((range) => [...range.spaces]));
  return { ...ranges[0]!, spaces };
}

/**
 * Moments, computed from the hidden states of the statistics units; null where the moments units compute other hidden
 * states.
 */
async function remoteMoments(
  remote: Remote,
  shards: readonly ShardUnits[],
  onPassed: OnPassed,
): Promise<Moments | null> {
  const ranges = rangesOf(remote);
  const tokens = tokensOfSets(shards);
  const parts = await Promise.all(
    ranges.map(async (range, index) => {
      const part = await momentsOfRange(remote, { range, index }, shards);
      onPassed(tokens * (range.end - range.first));
      return part;
    }),
  );
  const after = parts.map((part) => part.after);
  const before = ranges.map((_, range) => shards.map(({ units }) => units[range]!.hidden));
  if (!isSameStream(after, before)) return null;
  return new Map(parts.flatMap(({ moments }) => [...moments]));
}

async function momentsOfRange(
  remote: Remote,
  { range, index }: { readonly range: LayerRange; readonly index: number },
  shards: readonly ShardUnits[],
): Promise<{ readonly moments: Moments; readonly after: readonly Digest[] }> {
  const { dispatcher, store, hashes } = remote;
  const inputs = shards.map(({ set, windows, tokenWeight, units }): MomentShard => {
    return { set, windows, tokenWeight, hidden: units[index]!.hidden };
  });
  const unit: MomentsUnit = { kind: "moments", hashes, shards: await keepValue(store, inputs), ...range };
  const after = (await dispatcher.value(unit, "after")) as readonly Digest[];
  return { moments: momentsFrom(store, await valueWithTensors(remote, unit, "moments")), after };
}

/**
 * Whether every range ended with the hidden states that the next one began with. The first one begins with the
 * embeddings, as a single process does, so by induction all have computed what that process computes, whatever programs
 * the statistics units ran.
 * @param after - hidden states of every shard after each range
 * @param before - hidden states of every shard before each range; null before the first
 */
export function isSameStream(
  after: readonly (readonly Digest[])[],
  before: readonly (readonly (Digest | null)[])[],
): boolean {
  return after.slice(0, -1).every((ended, range) => {
    const next = before[range + 1]!;
    return ended.length === next.length && ended.every(({ sha256 }, shard) => sha256 === next[shard]?.sha256);
  });
}
