/**
 * All passes over texts that a run needs: those of calibration and evaluation, and refitting from the moments they
 * gather.
 */

import type { Reporting } from "../base/progress.ts";
import type { Checkpoints } from "../base/stages.ts";
import type { Activations, CalibrateOptions, MeasuredSet } from "../calibrate/calibrate.ts";
import type { Moments } from "../calibrate/moments.ts";
import { localPasses, type Passes } from "../calibrate/passes.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import type { PruningPlan } from "../prune/plan.ts";
import type { Alternatives } from "./alternatives.ts";
import { type Refitted, refitProjections } from "./least_squares.ts";

/** A refit of the model that is pruned, by least squares. */
export interface RefitRequest extends Reporting {
  readonly plan: PruningPlan;
  readonly moments: Moments;
  /** Whether projections without a bias get one; true when absent. */
  readonly addsBiases?: boolean | undefined;
  /** Alternative widths to fit as well. */
  readonly alternatives?: Alternatives | undefined;
  readonly checkpoints: Checkpoints<Refitted>;
}

/** Passes over texts, and the refit that follows from them. */
export interface RunPasses extends Passes {
  /** As `refitProjections`. */
  refit(request: RefitRequest): Promise<Refitted>;
}

/**
 * Activation statistics from other machines; moments are null if theirs would differ in bits from a single process's.
 */
export interface RemoteActivations extends Pick<Activations, "stats"> {
  readonly moments: Moments | null;
}

/** Passes that hold connections. Moments may be left to the run's own process. */
export interface ConnectedPasses extends Omit<RunPasses, "activations"> {
  activations(sets: readonly MeasuredSet[], options?: CalibrateOptions): Promise<RemoteActivations>;
  close(): Promise<void>;
}

/**
 * The passes of a run: `opened` if given, else those of this process.
 * @param dense - the model that is pruned
 */
export function runPasses(dense: Model, runtime: Runtime, opened?: ConnectedPasses): RunPasses {
  const local = localPasses(dense, runtime);
  if (opened === undefined)
    return { ...local, refit: (request) => refitProjections({ dense, runtime, ...request }) };
  return {
    activations: async (...args) => {
      const { stats, moments } = await opened.activations(...args);
      return moments === null ? local.activations(...args) : { stats, moments };
    },
    gateStatistics: (...args) => opened.gateStatistics(...args),
    slopes: (...args) => opened.slopes(...args),
    losses: (...args) => opened.losses(...args),
    refit: (request) => opened.refit(request),
  };
}
