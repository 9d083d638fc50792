/**
 * The passes over texts that a run spends its time on, as whoever asks for them sees them: which model, which windows,
 * which sums. They are computed here by the process that asks; workers/remote_passes.ts has other processes compute
 * them, and gives the same bits.
 */

import type { Reporting } from "../base/progress.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { type LossSum, nextTokenLoss } from "../graph/decoder/loss.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import type { LayerSpec } from "../model/spec.ts";
import type { AnyTensor } from "../tensor/stash.ts";
import {
  type Activations,
  type CalibrateOptions,
  type MeasuredSet,
  measureActivations,
  type TokenSet,
} from "./calibrate.ts";
import { type GateStats, type GateStatsOptions, gateStatistics } from "./gate_stats.ts";
import { type SlopeOptions, type SlopeStats, slopeStatistics } from "./slopes.ts";

/** How a model comes from the one that is pruned, as a plain value: recover/recipe.ts makes it. */
export interface ModelRecipe {
  /** Kept unit indices by space id; a space that is absent is kept whole. */
  readonly keep?: Readonly<Record<string, readonly number[]>>;
  /** Tensors in place of its own, by name, and the layers with the biases that they bring. */
  readonly tensors?: ReadonlyMap<string, AnyTensor>;
  readonly layers?: readonly LayerSpec[];
}

/** A model, and how it is made. */
export interface MadeModel {
  readonly model: Model;
  readonly recipe: ModelRecipe;
}

/** The model that is pruned, as it is. */
export function unpruned(model: Model): MadeModel {
  return { model, recipe: {} };
}

/** Windows whose losses are asked for. */
export interface LossRequest {
  readonly made: MadeModel;
  /** Token ids, each [T], T >= 2. */
  readonly windows: readonly Int32Array[];
}

/**
 * What may be computed on other machines. Distillation, error curves and the model's own text are always computed by
 * the process that prunes.
 */
export interface Passes {
  /** As `measureActivations`, on the model that is pruned. */
  activations(sets: readonly MeasuredSet[], options?: CalibrateOptions): Promise<Activations>;
  /** As `gateStatistics`. */
  gateStatistics(
    made: MadeModel,
    sets: readonly TokenSet[],
    options?: GateStatsOptions,
  ): Promise<ReadonlyMap<string, GateStats>>;
  /** As `slopeStatistics`, of the model that is pruned. @param made - has the changes among its tensors */
  slopes(
    made: MadeModel,
    sets: readonly TokenSet[],
    options?: SlopeOptions,
  ): Promise<ReadonlyMap<string, SlopeStats>>;
  /** As `nextTokenLoss`, one sum for each request. */
  losses(requests: readonly LossRequest[], options: Reporting): Promise<readonly LossSum[]>;
}

/** What passes are opened for. */
export interface PassesBase {
  /** The model that is pruned, and the SHA-256 of its files by name. */
  readonly model: Model;
  readonly hashes: Readonly<Record<string, string>>;
  /** Ends the passes that are waited for. */
  readonly signal?: AbortSignal | undefined;
}

/** Passes that this process computes. @param dense - the model that is pruned */
export function localPasses(dense: Model, runtime: Runtime): Passes {
  return {
    activations: (sets, options) => measureActivations(new DecoderRunner(dense, runtime), sets, options),
    gateStatistics: ({ model }, sets, options) =>
      gateStatistics(new DecoderRunner(model, runtime), sets, options),
    slopes: ({ model }, sets, options) =>
      slopeStatistics({ runner: new DecoderRunner(model, runtime), dense }, sets, options),
    losses: async (requests, { stage, onProgress }) => {
      const sums: LossSum[] = [];
      for (const { made, windows } of requests) {
        sums.push(await nextTokenLoss(new DecoderRunner(made.model, runtime), windows));
        onProgress({ stage, done: sums.length, total: requests.length, unit: "texts" });
      }
      return sums;
    },
  };
}
