/**
 * The interface of the passes over texts that a run spends its time on: which model, which windows, which sums.
 * `localPasses` computes them in the calling process, workers/remote_passes.ts in others, with the same bits.
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

/** How a model is made from the dense one, as a plain value; recover/recipe.ts carries it out. */
export interface ModelRecipe {
  /** Kept unit indices by space id; a space that is absent is kept whole. */
  readonly keep?: Readonly<Record<string, readonly number[]>>;
  /** Replacement tensors by name; none when absent. */
  readonly tensors?: ReadonlyMap<string, AnyTensor>;
  /** The layers with the biases that the tensors add; the pruned model's own when absent. */
  readonly layers?: readonly LayerSpec[];
}

/** A model, and how it is made from the dense one. */
export interface MadeModel {
  readonly model: Model;
  readonly recipe: ModelRecipe;
}

/** The dense model, with an empty recipe. */
export function unpruned(model: Model): MadeModel {
  return { model, recipe: {} };
}

/** A model, and the windows whose loss is requested. */
export interface LossRequest {
  readonly made: MadeModel;
  /** Token ids, each [T], T >= 2. */
  readonly windows: readonly Int32Array[];
}

/**
 * Passes that other machines may compute. Distillation, error curves and the model's own text are always computed by
 * the process that prunes.
 */
export interface Passes {
  /** As `measureActivations`, on the dense model. */
  activations(sets: readonly MeasuredSet[], options?: CalibrateOptions): Promise<Activations>;
  /** As `gateStatistics`. */
  gateStatistics(
    made: MadeModel,
    sets: readonly TokenSet[],
    options?: GateStatsOptions,
  ): Promise<ReadonlyMap<string, GateStats>>;
  /** As `slopeStatistics`, with the dense model. @param made - has the changes among its tensors */
  slopes(
    made: MadeModel,
    sets: readonly TokenSet[],
    options?: SlopeOptions,
  ): Promise<ReadonlyMap<string, SlopeStats>>;
  /** As `nextTokenLoss`, one sum for each request. */
  losses(requests: readonly LossRequest[], options: Reporting): Promise<readonly LossSum[]>;
}

/** The dense model of some passes, and the signal that aborts them. */
export interface PassesBase {
  /** The dense model, and the SHA-256 of its files by name. */
  readonly model: Model;
  readonly hashes: Readonly<Record<string, string>>;
  /** Aborts pending passes. */
  readonly signal?: AbortSignal | undefined;
}

/** Passes that this process computes. @param dense - the model that is being pruned */
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
