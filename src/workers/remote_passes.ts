/**
 * Passes over texts computed by workers. Units are the shards that one process adds up separately as well
 * (calibrate/shards.ts), and their results are added here in the same order, so every bit is the same.
 */

import { resolve } from "node:path";
import { requireCount } from "../base/arguments.ts";
import { getOrMakeAsync } from "../base/map_values.ts";
import { type Reporting, silent } from "../base/progress.ts";
import type { CalibrateOptions, MeasuredSet, TokenSet } from "../calibrate/calibrate.ts";
import {
  accumulateGateStats,
  emptyGateStats,
  type GateStats,
  type GateStatsOptions,
} from "../calibrate/gate_stats.ts";
import type { LossRequest, MadeModel, ModelRecipe, PassesBase } from "../calibrate/passes.ts";
import { shardsOf } from "../calibrate/shards.ts";
import { accumulateSlopes, emptySlopes, type SlopeOptions, type SlopeStats } from "../calibrate/slopes.ts";
import { MICRO_BATCH_TOKENS, tokensOf, tokensOfSets } from "../graph/decoder/forward.ts";
import { type LossSum, lossSum } from "../graph/decoder/loss.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { isHubAddress } from "../io/hub/address.ts";
import { openStore } from "../io/store/open_store.ts";
import { keepValue, storeIdentity } from "../io/store/store.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Refitted } from "../recover/least_squares.ts";
import type { ConnectedPasses, RefitRequest, RemoteActivations } from "../recover/passes.ts";
import { Dispatcher } from "./dispatcher.ts";
import { patientStore } from "./patient_store.ts";
import { reachServer } from "./queue_server.ts";
import { keepRecipe } from "./recipes.ts";
import { handled, type Remote } from "./remote.ts";
import { remoteActivations } from "./remote_activations.ts";
import { remoteRefit } from "./remote_refit.ts";
import { queueName, type Unit, type Windows } from "./unit.ts";
import { UnitProgress } from "./unit_progress.ts";

/** Queue and store of a distributed run, and the size of its units. */
export interface Distribution {
  /** `redis://HOST[:PORT]` or `postgres://HOST[:PORT]/DATABASE` */
  readonly redis: string;
  /** A directory, or `s3://BUCKET/PREFIX`, that the run and all workers reach. */
  readonly store: string;
  /** Threads of one operator, for processors on which results may depend on it. */
  readonly threads?: number | undefined;
  /**
   * Layers of a unit of statistics, moments or refitting; when absent an eighth of them, or fewer, so that they have at
   * most 2^30 parameters.
   */
  readonly layersPerUnit?: number | undefined;
}

/** Most parameters of the layers of one unit: statistics of a shard take one machine some minutes. */
const UNIT_PARAMETERS = 2 ** 30;
/** Approximate number of ranges that layers are cut into, and so of refitting units that can run at once. */
const TARGET_RANGES = 8;

/**
 * Passes for `prune(config, { openPasses })`, computed by the workers that have the same server and store.
 * @throws GpruneError BAD_ARGUMENT for units of less than one layer; when opened, QUEUE_FAILED or STORE_FAILED
 */
export function distributed(distribution: Distribution): (base: PassesBase) => Promise<ConnectedPasses> {
  requireCount("layersPerUnit", distribution.layersPerUnit ?? 1);
  return async (base) => {
    // Before a store is made that nobody may use.
    await reachServer(distribution.redis);
    const store = patientStore(await openStore(distribution.store), { signal: base.signal });
    const name = queueName(await storeIdentity(store), distribution.threads);
    const model = addressOf(base.model);
    const { redis } = distribution;
    const dispatcher = await Dispatcher.open({ redis, name, store, model, signal: base.signal });
    const { spec } = base.model;
    const range = distribution.layersPerUnit ?? layersOfUnit(spec);
    return new RemotePasses({ store, dispatcher, spec, hashes: base.hashes, range });
  };
}

/** Address by which workers open the model: its path, or its hub address where the path is this machine's cache. */
function addressOf({ origin: { name, path = name } }: Model): string {
  if (path === name) return resolve(path);
  return isHubAddress(name) ? name : `hf://${name}`;
}

function layersOfUnit(spec: ModelSpec): number {
  const layers = spec.layers.length;
  const most = Math.floor((UNIT_PARAMETERS * layers) / parameterCount(spec));
  return Math.max(1, Math.min(most, Math.ceil(layers / TARGET_RANGES)));
}

class RemotePasses implements ConnectedPasses {
  readonly #remote: Remote;
  /** Objects of recipes that are in the store already. */
  readonly #recipes = new WeakMap<ModelRecipe, Promise<Digest>>();

  constructor(remote: Remote) {
    this.#remote = remote;
  }

  activations(
    sets: readonly MeasuredSet[],
    { onProgress = silent }: CalibrateOptions = {},
  ): Promise<RemoteActivations> {
    return remoteActivations(this.#remote, sets, onProgress);
  }

  async gateStatistics(
    made: MadeModel,
    sets: readonly TokenSet[],
    { damped = false, centres, stage = "gradients", onProgress = silent }: GateStatsOptions = {},
  ): Promise<ReadonlyMap<string, GateStats>> {
    const { hashes, store } = this.#remote;
    const recipe = await this.#recipe(made.recipe);
    const kept = centres === undefined ? null : await keepValue(store, centres);
    return this.#sumsBySet<GateStats>(sets, {
      stage,
      onProgress,
      unit: (windows) => ({ kind: "gradients", hashes, windows, recipe, damped, centres: kept }),
      empty: () => emptyGateStats(spacesOf(made.model.spec)),
      add: accumulateGateStats,
    });
  }

  async slopes(
    made: MadeModel,
    sets: readonly TokenSet[],
    { centres = new Map(), stage = "slopes", onProgress = silent }: SlopeOptions = {},
  ): Promise<ReadonlyMap<string, SlopeStats>> {
    const { hashes, store } = this.#remote;
    const recipe = (await this.#recipe(made.recipe))!;
    const kept = await keepValue(store, centres);
    return this.#sumsBySet<SlopeStats>(sets, {
      stage,
      onProgress,
      unit: (windows) => ({ kind: "slopes", hashes, windows, recipe, centres: kept }),
      empty: () => emptySlopes(made),
      add: accumulateSlopes,
    });
  }

  /** Sums over the windows of every set, added up in the order in which one process adds them up. */
  async #sumsBySet<S>(
    sets: readonly TokenSet[],
    { unit, empty, add, stage, onProgress }: RemoteWork<S>,
  ): Promise<ReadonlyMap<string, S>> {
    const { dispatcher } = this.#remote;
    const total = tokensOfSets(sets);
    const progress = new UnitProgress(dispatcher, { stage, total, unit: "tokens", onProgress });
    return progress.during(async () => {
      const compute = async (kept: Digest, tokens: number): Promise<readonly S[]> => {
        const value = await dispatcher.value(unit(kept), "windows");
        progress.advance(tokens);
        return value as readonly S[];
      };
      const shards: Promise<readonly S[]>[][] = sets.map(() => []);
      for (const [index, { name, partOf = name, windows }] of sets.entries()) {
        for (const shard of shardsOf(windows, MICRO_BATCH_TOKENS)) {
          const kept = await this.#keepWindows(partOf, shard);
          shards[index]!.push(handled(compute(kept, tokensOf(shard))));
        }
      }
      const result = new Map<string, S>();
      for (const [index, { name }] of sets.entries()) {
        let sums = empty();
        for (const shard of shards[index]!) for (const window of await shard) sums = add(sums, window);
        result.set(name, sums);
      }
      return result;
    });
  }

  async losses(
    requests: readonly LossRequest[],
    { stage, onProgress }: Reporting,
  ): Promise<readonly LossSum[]> {
    const { dispatcher, hashes } = this.#remote;
    const progress = new UnitProgress(dispatcher, {
      stage,
      total: requests.length,
      unit: "texts",
      onProgress,
    });
    return progress.during(async () => {
      const compute = async (unit: Unit): Promise<Float32Array> =>
        (await dispatcher.value(unit, "losses")) as Float32Array;
      const shards: Promise<Float32Array>[][] = requests.map(() => []);
      for (const [index, { made, windows }] of requests.entries()) {
        const recipe = await this.#recipe(made.recipe);
        for (const shard of shardsOf(windows)) {
          const kept = await this.#keepWindows("", shard);
          shards[index]!.push(handled(compute({ kind: "losses", hashes, windows: kept, recipe })));
        }
      }
      const sums: LossSum[] = [];
      for (const losses of shards) {
        sums.push(lossSum(await Promise.all(losses)));
        progress.advance(1);
      }
      return sums;
    });
  }

  refit(request: RefitRequest): Promise<Refitted> {
    return remoteRefit(this.#remote, request);
  }

  close(): Promise<void> {
    return this.#remote.dispatcher.close();
  }

  /** Writes a shard. Awaited one after another: each is a file or an upload of its own. */
  #keepWindows(set: string, windows: readonly Int32Array[]): Promise<Digest> {
    const value: Windows = { set, windows };
    return keepValue(this.#remote.store, value);
  }

  /** Object with a recipe, written once; null for the dense model, which workers have. */
  async #recipe(recipe: ModelRecipe): Promise<Digest | null> {
    if (Object.keys(recipe).length === 0) return null;
    return getOrMakeAsync(this.#recipes, recipe, () => keepRecipe(this.#remote.store, recipe));
  }
}

/** A pass whose units give one result for every window. */
interface RemoteWork<S> extends Reporting {
  /** The unit that computes windows. */
  readonly unit: (windows: Digest) => Unit;
  /** Sums of no windows. */
  readonly empty: () => S;
  readonly add: (sums: S, window: S) => S;
}
