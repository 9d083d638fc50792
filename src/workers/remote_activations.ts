/**
 * Statistics and moments that other processes compute: every shard of windows makes its own way through ranges of
 * layers, whose units add up statistics, and then one unit for each range goes through it with all shards that count in
 * the moments.
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

/** A shard, the set it is of, and its units of statistics, one for each range of layers. */
interface ShardWay extends MeasuredShard {
  readonly set: string;
  readonly units: readonly StatisticsUnit[];
}

/** Hears how many tokens went through how many layers, their product. */
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
    const ways: Promise<ShardWay>[] = [];
    for (const { set, ...shard } of shards) {
      const { name, partOf = name } = set;
      const { windows, owners } = shard;
      const owned: OwnedWindows = { set: partOf, windows, owners };
      // One after another: every one is a file or an upload of its own.
      const kept = await keepValue(remote.store, owned);
      ways.push(handled(wayOf(remote, { shard: { ...shard, set: partOf }, kept, onPassed })));
    }
    const stats = await joinedStats(remote, ways);
    const known = (await Promise.all(ways)).filter(({ tokenWeight }) => tokenWeight > 0);
    return { stats, moments: known.length === 0 ? new Map() : await moments(remote, known, onPassed) };
  });
}

/** How many layers a shard goes through in units of both kinds. */
function layersFor(remote: Remote, { owners, tokenWeight }: MeasuredShard): number {
  const { length } = remote.spec.layers;
  const forStatistics = isOwned(owners) ? length : rangesOf(remote).at(-1)!.first;
  return forStatistics + (tokenWeight > 0 ? length : 0);
}

function isOwned(owners: MeasuredShard["owners"]): boolean {
  return owners.some((owner) => owner !== null);
}

interface ShardOrder {
  readonly shard: Omit<ShardWay, "units">;
  /** Its windows, in the store. */
  readonly kept: Digest;
  readonly onPassed: OnPassed;
}

/**
 * A shard's way through the layers, a range of them after the other; not the last one where only its input is wanted.
 */
async function wayOf(remote: Remote, { shard, kept, onPassed }: ShardOrder): Promise<ShardWay> {
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

/** What the next unit goes on with; computed anew when an earlier run's is gone. */
async function hiddenAfter({ dispatcher, store }: Remote, unit: StatisticsUnit): Promise<Digest | null> {
  const { hidden } = await dispatcher.result(unit);
  if (hidden === undefined || (await store.has(hidden))) return hidden ?? null;
  await dispatcher.forget(unit);
  return (await dispatcher.result(unit)).hidden ?? null;
}

/** Statistics of every owner, shards added up in the order in which one process adds them up. */
async function joinedStats(
  { dispatcher }: Remote,
  ways: readonly Promise<ShardWay>[],
): Promise<ReadonlyMap<string, CalibrationStats>> {
  const result = new Map<string, CalibrationStats>();
  for (const way of ways) {
    const { owners, units } = await way;
    if (!isOwned(owners)) continue;
    const ranges: ReadonlyMap<string, CalibrationStats>[] = [];
    for (const unit of units) {
      ranges.push((await dispatcher.value(unit, "stats")) as ReadonlyMap<string, CalibrationStats>);
    }
    for (const owner of ranges[0]!.keys()) {
      const own = joined(ranges.map((range) => range.get(owner)!));
      const sum = result.get(owner);
      result.set(owner, sum === undefined ? own : mergeStats(sum, own));
    }
  }
  return result;
}

/** Statistics of ranges of layers as one. */
function joined(ranges: readonly CalibrationStats[]): CalibrationStats {
  const spaces = new Map<string, ChannelStats>(ranges.flatMap((own) => [...own.spaces]));
  return { ...ranges[0]!, spaces };
}

/** On the hidden states that units of statistics have, as long as those are what the moments' own pass has. */
async function moments(
  remote: Remote,
  ways: readonly ShardWay[],
  onPassed: OnPassed,
): Promise<Moments | null> {
  const ranges = rangesOf(remote);
  const tokens = tokensOfSets(ways);
  const parts = await Promise.all(
    ranges.map(async (range, index) => {
      const part = await momentsOfRange(remote, { range, index }, ways);
      onPassed(tokens * (range.end - range.first));
      return part;
    }),
  );
  const after = parts.map((part) => part.after);
  const known = ranges.map((_, range) => ways.map(({ units }) => units[range]!.hidden));
  if (!isSameStream(after, known)) return null;
  return new Map(parts.flatMap(({ moments: own }) => [...own]));
}

async function momentsOfRange(
  remote: Remote,
  { range, index }: { readonly range: LayerRange; readonly index: number },
  ways: readonly ShardWay[],
): Promise<{ readonly moments: Moments; readonly after: readonly Digest[] }> {
  const { dispatcher, store, hashes } = remote;
  const shards = ways.map(({ set, windows, tokenWeight, units }): MomentShard => {
    return { set, windows, tokenWeight, hidden: units[index]!.hidden };
  });
  const unit: MomentsUnit = { kind: "moments", hashes, shards: await keepValue(store, shards), ...range };
  const after = (await dispatcher.value(unit, "after")) as readonly Digest[];
  return { moments: momentsFrom(store, await valueWithTensors(remote, unit, "moments")), after };
}

/**
 * Whether every range ended with the states that the next one began with. Then the first one, which began with the
 * embeddings as a single process does, and all after it have computed what that process computes, whatever programs the
 * units of statistics have.
 * @param known - states of every shard before each range; null before the first
 */
export function isSameStream(
  after: readonly (readonly Digest[])[],
  known: readonly (readonly (Digest | null)[])[],
): boolean {
  return after.slice(0, -1).every((own, range) => {
    const next = known[range + 1]!;
    return own.length === next.length && own.every(({ sha256 }, shard) => sha256 === next[shard]?.sha256);
  });
}
