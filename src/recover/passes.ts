/**
 * All passes over texts that a run asks for: those of calibration and evaluation, and refitting from what they found.
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

/** What is to be refitted, on the model that is pruned. */
export interface RefitRequest extends Reporting {
  readonly plan: PruningPlan;
  readonly moments: Moments;
  /** Other widths, to be fitted as well. */
  readonly alternatives?: Alternatives | undefined;
  readonly checkpoints: Checkpoints<Refitted>;
}

export interface RunPasses extends Passes {
  /** As `refitProjections`. */
  refit(order: RefitRequest): Promise<Refitted>;
}

/** What other machines found; moments are null when they cannot give the bits that one process gives. */
export interface RemoteActivations extends Pick<Activations, "stats"> {
  readonly moments: Moments | null;
}

/** Passes that hold connections, of which one may be left to the run itself. */
export interface ConnectedPasses extends Omit<RunPasses, "activations"> {
  activations(sets: readonly MeasuredSet[], options?: CalibrateOptions): Promise<RemoteActivations>;
  close(): Promise<void>;
}

/**
 * Passes that this process computes, or that others do where some are opened. @param dense - the model that is pruned
 */
export function runPasses(dense: Model, runtime: Runtime, opened?: ConnectedPasses): RunPasses {
  const local = localPasses(dense, runtime);
  if (opened === undefined)
    return { ...local, refit: (order) => refitProjections({ dense, runtime, ...order }) };
  return {
    activations: async (...given) => {
      const { stats, moments } = await opened.activations(...given);
      return moments === null ? local.activations(...given) : { stats, moments };
    },
    gateStatistics: (...given) => opened.gateStatistics(...given),
    slopes: (...given) => opened.slopes(...given),
    losses: (...given) => opened.losses(...given),
    refit: (order) => opened.refit(order),
  };
}
