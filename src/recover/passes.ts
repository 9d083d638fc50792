/** All passes over texts that a run asks for: those of calibration and evaluation, and refitting. */
import { localPasses, type OpenPasses, type Passes } from "../calibrate/passes.ts";
import type { Runtime } from "../graph/runtime.ts";
import type { Model } from "../model/model.ts";
import type { OnProgress } from "../progress.ts";
import type { PruningPlan } from "../prune/plan.ts";
import type { Checkpoints } from "../stages.ts";
import type { Alternatives } from "./alternatives.ts";
import { type RefitState, type Refitted, refitProjections, type WeightedTokenSet } from "./least_squares.ts";

/** What is to be refitted, on the model that is pruned. */
export interface RefitOrder {
  readonly plan: PruningPlan;
  readonly sets: readonly WeightedTokenSet[];
  /** Other widths, to be fitted as well. */
  readonly alternatives?: Alternatives | undefined;
  readonly onProgress: OnProgress;
  readonly checkpoints: Checkpoints<RefitState>;
}

export interface RunPasses extends Passes {
  /** As `refitProjections`. */
  refit(order: RefitOrder): Promise<Refitted>;
}

/** Passes that hold connections, of which refitting may be left to the run itself. */
export interface OpenRunPasses extends OpenPasses {
  /** Null when whoever computes cannot give the bits that one process gives. */
  refit(order: RefitOrder): Promise<Refitted | null>;
}

/** Passes that this process computes, or that others do where some are opened. @param dense - the model that is pruned */
export function runPasses(dense: Model, runtime: Runtime, opened?: OpenRunPasses): RunPasses {
  const refit = (order: RefitOrder): Promise<Refitted> => refitProjections({ dense, runtime, ...order });
  if (opened === undefined) return { ...localPasses(dense, runtime), refit };
  return {
    statistics: (...given) => opened.statistics(...given),
    gateStatistics: (...given) => opened.gateStatistics(...given),
    slopes: (...given) => opened.slopes(...given),
    losses: (...given) => opened.losses(...given),
    refit: async (order) => (await opened.refit(order)) ?? refit(order),
  };
}
