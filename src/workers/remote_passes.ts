/**
 * Passes over texts whose parts other processes compute. Parts are those that one process adds up apart as well
 * (calibrate/shards.ts), their results are added here in the same order, and so every bit is the same.
 */

import { resolve } from "node:path";
import type { CalibrateOptions, TokenSet } from "../calibrate/calibrate.ts";
import { halvesOf } from "../calibrate/evidence.ts";
import {
  addedInPlace,
  emptyGateStats,
  type GateStats,
  type GateStatsOptions,
} from "../calibrate/gate_stats.ts";
import type { LossOptions, LossRequest, MadeModel, ModelRecipe, PassesBase } from "../calibrate/passes.ts";
import { shardsOf } from "../calibrate/shards.ts";
import { addedSlopes, emptySlopes, type SlopeOptions, type SlopeStats } from "../calibrate/slopes.ts";
import { type CalibrationStats, type ChannelStats, mergeStats } from "../calibrate/stats.ts";
import { tokensOf } from "../calibrate/window_lots.ts";
import { MICRO_BATCH_TOKENS } from "../graph/forward.ts";
import { type LossSum, lossSum } from "../graph/loss.ts";
import { isHubAddress } from "../io/hub_address.ts";
import { openStore } from "../io/open_store.ts";
import type { Digest } from "../io/stage_file.ts";
import { keepValue, type Store, storeIdentity } from "../io/store.ts";
import type { Model } from "../model/model.ts";
import { parameterCount, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type OnProgress, silent } from "../progress.ts";
import type { PruningPlan } from "../prune/plan.ts";
import type { Refitted } from "../recover/least_squares.ts";
import type { OpenRunPasses, RefitOrder } from "../recover/passes.ts";
import { Dispatcher } from "./dispatcher.ts";
import { hasTensors, keepRecipe, recipeOf } from "./recipes.ts";
import { joinedParts, type RefitPart } from "./refit_parts.ts";
import {
  queueName,
  type RefitRecipe,
  type RefitSet,
  type RefitUnit,
  type StatisticsUnit,
  type Unit,
} from "./unit.ts";
import { UnitProgress } from "./unit_progress.ts";

/** Where a run's units are computed. */
export interface Distribution {
  /** `redis://HOST[:PORT]` or `postgres://HOST[:PORT]/DATABASE` */
  readonly redis: string;
  /** A directory, or `s3://BUCKET/PREFIX`, that all workers reach. */
  readonly store: string;
  /** Threads of one operator, on processors where results may depend on it. */
  readonly threads?: number | undefined;
  /** Layers of a unit of statistics or refitting; an eighth, or as many as have a billion parameters, when absent. */
  readonly layersPerUnit?: number | undefined;
}

/** Parameters that the layers of one unit of statistics have together: some minutes for one machine. */
const UNIT_PARAMETERS = 2 ** 30;
/** Ranges of layers at least, where there are layers: as many units refit at once. */
const MIN_RANGES = 8;

/**
 * Passes for `prune(config, { openPasses })`, computed by the workers that listen at the same server and have the same store.
 * @throws GpruneError, when opened, QUEUE_FAILED or STORE_FAILED
 */
export function distributed(distribution: Distribution): (base: PassesBase) => Promise<OpenRunPasses> {
  return async (base) => {
    const store = await openStore(distribution.store);
    const name = queueName(await storeIdentity(store), distribution.threads);
    const model = addressOf(base.model);
    const { redis } = distribution;
    const dispatcher = await Dispatcher.open({ redis, name, store, model, signal: base.signal });
    const { spec } = base.model;
    const range = distribution.layersPerUnit ?? layersOfUnit(spec);
    return new RemotePasses({ store, dispatcher, spec, hashes: base.hashes, range });
  };
}

/** What a worker is to open; of a model from the hub, which has a path in this machine's cache alone, its address. */
function addressOf({ origin: { name, path = name } }: Model): string {
  if (path === name) return resolve(path);
  return isHubAddress(name) ? name : `hf://${name}`;
}

function layersOfUnit(spec: ModelSpec): number {
  const layers = spec.layers.length;
  const most = Math.floor((UNIT_PARAMETERS * layers) / parameterCount(spec));
  return Math.max(1, Math.min(most, Math.ceil(layers / MIN_RANGES)));
}

interface Remote {
  readonly store: Store;
  readonly dispatcher: Dispatcher;
  readonly spec: ModelSpec;
  readonly hashes: Readonly<Record<string, string>>;
  /** Layers of a unit of statistics. */
  readonly range: number;
}

class RemotePasses implements OpenRunPasses {
  readonly #remote: Remote;
  /** Recipes that were kept already. */
  readonly #recipes = new WeakMap<ModelRecipe, Promise<Digest>>();

  constructor(remote: Remote) {
    this.#remote = remote;
  }

  async statistics(
    sets: readonly TokenSet[],
    { onProgress = silent }: CalibrateOptions = {},
  ): Promise<ReadonlyMap<string, CalibrationStats>> {
    const shards = sets.map(({ windows }) => shardsOf(windows));
    const total = tokensOf(sets.flatMap(({ windows }) => windows));
    const progress = new UnitProgress(this.#remote.dispatcher, {
      stage: "calibrate",
      total,
      unit: "tokens",
      onProgress,
    });
    const { length: layers } = this.#remote.spec.layers;
    const onPassed = (tokens: number): void => progress.advance(tokens / layers);
    return progress.during(async () => {
      const chains = sets.map((set, d) =>
        shards[d]!.map((windows) => handled(this.#shard(set, windows, { onPassed }))),
      );
      const result = new Map<string, CalibrationStats>();
      for (const [d, { name }] of sets.entries()) {
        let sum: CalibrationStats | undefined;
        for (const shard of chains[d]!) {
          const own = await this.#joined(await shard);
          sum = sum === undefined ? own : mergeStats(sum, own);
        }
        result.set(name, sum!);
      }
      return result;
    });
  }

  /**
   * A shard's way through the layers, a range of them after the other.
   * @param options - `onPassed` hears how many tokens went through how many layers, their product; `skipsLast`: the last
   *   range is not computed, for whoever wants its input alone
   */
  async #shard(
    { name, partOf = name }: TokenSet,
    windows: readonly Int32Array[],
    { onPassed, skipsLast = false }: { onPassed: (tokens: number) => void; skipsLast?: boolean },
  ): Promise<readonly StatisticsUnit[]> {
    const { spec, hashes, range } = this.#remote;
    const layers = spec.layers.length;
    const given = await this.#windows(partOf, windows);
    const units: StatisticsUnit[] = [];
    let hidden: Digest | null = null;
    for (let first = 0; first < layers; first += range) {
      const end = Math.min(layers, first + range);
      const unit: StatisticsUnit = { kind: "statistics", hashes, windows: given, first, end, hidden };
      units.push(unit);
      if (skipsLast && end === layers) break;
      hidden = await this.#hiddenAfter(unit);
      onPassed(tokensOf(windows) * (end - first));
    }
    return units;
  }

  /** What the next unit goes on with; computed anew when an earlier run's is gone. */
  async #hiddenAfter(unit: StatisticsUnit): Promise<Digest | null> {
    const { dispatcher, store } = this.#remote;
    const { hidden } = await dispatcher.result(unit);
    if (hidden === undefined || (await store.has(hidden))) return hidden ?? null;
    await dispatcher.forget(unit);
    return (await dispatcher.result(unit)).hidden ?? null;
  }

  /** Statistics of ranges of layers as one. */
  async #joined(units: readonly StatisticsUnit[]): Promise<CalibrationStats> {
    const spaces = new Map<string, ChannelStats>();
    let counts = { tokens: 0, sequences: 0 };
    for (const unit of units) {
      const own = (await this.#remote.dispatcher.value(unit, "stats")) as CalibrationStats;
      counts = { tokens: own.tokens, sequences: own.sequences };
      for (const [id, sums] of own.spaces) spaces.set(id, sums);
    }
    return { ...counts, spaces };
  }

  async gateStatistics(
    made: MadeModel,
    sets: readonly TokenSet[],
    { damped = false, centers, stage = "gradients", onProgress = silent }: GateStatsOptions = {},
  ): Promise<ReadonlyMap<string, GateStats>> {
    const { hashes, store } = this.#remote;
    const recipe = await this.#recipe(made.recipe);
    const from = centers === undefined ? null : await keepValue(store, centers);
    return this.#sumsBySet<GateStats>(sets, {
      ...{ stage, onProgress },
      unit: (windows) => ({ kind: "gradients", hashes, windows, recipe, damped, centers: from }),
      empty: () => emptyGateStats(spacesOf(made.model.spec)),
      add: addedInPlace,
    });
  }

  async slopes(
    made: MadeModel,
    sets: readonly TokenSet[],
    { centers = new Map(), stage = "slopes", onProgress = silent }: SlopeOptions = {},
  ): Promise<ReadonlyMap<string, SlopeStats>> {
    const { hashes, store } = this.#remote;
    const recipe = (await this.#recipe(made.recipe))!;
    const from = await keepValue(store, centers);
    return this.#sumsBySet<SlopeStats>(sets, {
      ...{ stage, onProgress },
      unit: (windows) => ({ kind: "slopes", hashes, windows, recipe, centers: from }),
      empty: () => emptySlopes(made),
      add: addedSlopes,
    });
  }

  /** What units give for each of their windows, added up by set in the order in which one process adds them up. */
  async #sumsBySet<S>(
    sets: readonly TokenSet[],
    { unit, empty, add, stage, onProgress }: RemoteWork<S>,
  ): Promise<ReadonlyMap<string, S>> {
    const { dispatcher } = this.#remote;
    const total = tokensOf(sets.flatMap(({ windows }) => windows));
    const progress = new UnitProgress(dispatcher, { stage, total, unit: "tokens", onProgress });
    return progress.during(async () => {
      const compute = async (set: string, windows: readonly Int32Array[]): Promise<readonly S[]> => {
        const value = await dispatcher.value(unit(await this.#windows(set, windows)), "windows");
        progress.advance(tokensOf(windows));
        return value as readonly S[];
      };
      const lots = sets.map(({ name, partOf = name, windows }) =>
        shardsOf(windows, MICRO_BATCH_TOKENS).map((shard) => handled(compute(partOf, shard))),
      );
      const result = new Map<string, S>();
      for (const [d, { name }] of sets.entries()) {
        let sums = empty();
        for (const lot of lots[d]!) for (const window of await lot) sums = add(sums, window);
        result.set(name, sums);
      }
      return result;
    });
  }

  async losses(
    requests: readonly LossRequest[],
    { stage, onProgress }: LossOptions,
  ): Promise<readonly LossSum[]> {
    const { dispatcher, hashes } = this.#remote;
    const progress = new UnitProgress(dispatcher, {
      stage,
      total: requests.length,
      unit: "texts",
      onProgress,
    });
    return progress.during(async () => {
      const compute = async (
        recipe: Digest | null,
        windows: readonly Int32Array[],
      ): Promise<Float32Array> => {
        const given = await this.#windows("", windows);
        return (await dispatcher.value(
          { kind: "losses", hashes, windows: given, recipe },
          "losses",
        )) as Float32Array;
      };
      const lots: Promise<Float32Array>[][] = [];
      for (const { made, windows } of requests) {
        const recipe = await this.#recipe(made.recipe);
        lots.push(shardsOf(windows).map((shard) => handled(compute(recipe, shard))));
      }
      const sums: LossSum[] = [];
      for (const lot of lots) {
        sums.push(lossSum(await Promise.all(lot)));
        progress.advance(1);
      }
      return sums;
    });
  }

  /** On the hidden states that units of statistics have, as long as those are what refitting itself has. */
  async refit({ plan, sets, alternatives, onProgress }: RefitOrder): Promise<Refitted | null> {
    const { dispatcher, store, hashes } = this.#remote;
    const total = tokensOf(sets.flatMap(({ windows }) => windows));
    const progress = new UnitProgress(dispatcher, { stage: "recover", total, unit: "tokens", onProgress });
    const { range: size, spec } = this.#remote;
    const layers = spec.layers.length;
    // Layers that a token goes through in units of statistics, up to the last range, and in those that refit.
    const passed = layers - 1 - ((layers - 1) % size) + layers;
    const onPassed = (tokens: number): void => progress.advance(tokens / passed);
    return progress.during(async () => {
      const recipe = await keepRecipe(store, refitRecipe(plan, alternatives));
      const ways = await Promise.all(sets.map((set) => this.#waysOf(set, onPassed)));
      const ranges = ways[0]![0]!.units;
      const parts = await Promise.all(
        ranges.map(async ({ first, end }, range): Promise<RefitPart> => {
          const given = sets.map(({ name, weight, windows }, d): RefitSet => {
            const shards = ways[d]!.map(({ places, units }) => ({ places, hidden: units[range]!.hidden }));
            return { name, weight, windows, shards };
          });
          const unit = {
            kind: "refit",
            hashes,
            recipe,
            sets: await keepValue(store, given),
            first,
            end,
          } as const;
          const part = await this.#refitted(unit);
          onPassed(total * (end - first));
          return part;
        }),
      );
      const known = ranges.map((_, range) => ways.flat().map(({ units }) => units[range]!.hidden));
      return joinedParts(parts, known);
    });
  }

  /** What a unit of refitting gave; computed anew when tensors of an earlier run's are gone. */
  async #refitted(unit: RefitUnit): Promise<RefitPart> {
    const { dispatcher, store } = this.#remote;
    const after = (await dispatcher.value(unit, "after")) as readonly Digest[];
    let recipe = await dispatcher.value(unit, "refitted");
    if (!(await hasTensors(store, recipe))) {
      await dispatcher.forget(unit);
      recipe = await dispatcher.value(unit, "refitted");
    }
    return { ...recipeOf(store, recipe), after };
  }

  /** The shards of a set's halves, and their units. */
  async #waysOf(set: TokenSet, onPassed: (tokens: number) => void): Promise<readonly ShardWay[]> {
    const ways = halvesOf(set).flatMap((half) => {
      let next = 0;
      return shardsOf(half.windows).map(async (windows): Promise<ShardWay> => {
        next += windows.length;
        const places = half.places.slice(next - windows.length, next);
        return { places, units: await this.#shard(half, windows, { onPassed, skipsLast: true }) };
      });
    });
    return Promise.all(ways);
  }

  close(): Promise<void> {
    return this.#remote.dispatcher.close();
  }

  #windows(set: string, windows: readonly Int32Array[]): Promise<Digest> {
    return keepValue(this.#remote.store, { set, windows });
  }

  /** Null for the dense model, which workers have. */
  async #recipe(recipe: ModelRecipe): Promise<Digest | null> {
    if (Object.keys(recipe).length === 0) return null;
    const known = this.#recipes.get(recipe) ?? keepRecipe(this.#remote.store, recipe);
    this.#recipes.set(recipe, known);
    return known;
  }
}

/** What is computed of every window by itself. */
interface RemoteWork<S> {
  /** The unit that computes windows. */
  readonly unit: (windows: Digest) => Unit;
  /** Sums of no windows. */
  readonly empty: () => S;
  readonly add: (sums: S, window: S) => S;
  readonly stage: string;
  readonly onProgress: OnProgress;
}

function refitRecipe({ keep }: PruningPlan, alternatives: RefitOrder["alternatives"]): RefitRecipe {
  return { keep, ...(alternatives && { alternatives }) };
}

/** A shard's windows among those of its set, and its units of statistics, one for each range of layers. */
interface ShardWay {
  readonly places: readonly number[];
  readonly units: readonly StatisticsUnit[];
}

/** A promise whose failure is heard later, or not at all when another one fails first. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
