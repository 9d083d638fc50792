/**
 * The results of calibration: activation statistics of every set and, on request, gate gradients, each from the whole
 * set and from two disjoint halves of it, by which their reliability is judged; and the moments for least squares, from
 * the same pass.
 */

import { badArgument } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { type Checkpoints, NO_STAGES, type Stages } from "../base/stages.ts";
import { tokensOfSets } from "../graph/decoder/forward.ts";
import type { Model } from "../model/model.ts";
import type { CalibrationState, TokenSet, WeightedTokenSet } from "./calibrate.ts";
import { type GateStats, type GateStatsState, mergeGateStats, poolGateStats } from "./gate_stats.ts";
import { halvesOf, measuredSets } from "./measured_sets.ts";
import type { Moments } from "./moments.ts";
import { type Passes, unpruned } from "./passes.ts";
import { type CalibrationStats, mergeStats, poolStats } from "./stats.ts";

/** Activation and gate statistics of some windows. */
export interface Evidence {
  readonly stats: CalibrationStats;
  /** Absent unless gradients were requested. */
  readonly gates?: GateStats;
}

/** Evidence from a whole set, and from two halves of it. */
export interface SplitEvidence {
  readonly whole: Evidence;
  /** Null for a set of one window. */
  readonly halves: readonly [Evidence, Evidence] | null;
}

/** Options of {@link gatherEvidence}. */
export interface GatheringOptions {
  /** Whether gate statistics are gathered as well; false when absent. */
  readonly gradients?: boolean;
  /**
   * Sets that moments are gathered over: of a calibration set the first windows, or all of them and more. None when
   * absent.
   */
  readonly fitted?: readonly WeightedTokenSet[];
  readonly onProgress?: OnProgress;
  readonly stages?: Stages;
}

/** Evidence and moments of a model. */
export interface Gathered {
  /** Evidence of every set, by name, in the order given. */
  readonly evidence: ReadonlyMap<string, SplitEvidence>;
  /** Over all fitted sets; empty where there are none. */
  readonly moments: Moments;
  /** Total number of tokens of all windows. */
  readonly tokens: number;
}

/**
 * Evidence of every set, and moments over the fitted sets.
 * @throws GpruneError BAD_ARGUMENT for a fitted set without tokens or weight
 */
export async function gatherEvidence(
  { model, passes }: { readonly model: Model; readonly passes: Passes },
  sets: readonly TokenSet[],
  { gradients = false, fitted = [], onProgress = silent, stages = NO_STAGES }: GatheringOptions = {},
): Promise<Gathered> {
  const measured = measuredSets(sets, fitted);
  const { stats, moments } = await stages.run("calibrate", (checkpoints: Checkpoints<CalibrationState>) =>
    passes.activations(measured, { onProgress, checkpoints }),
  );
  const gates = gradients
    ? await stages.run("gradients", (checkpoints: Checkpoints<GateStatsState>) =>
        passes.gateStatistics(unpruned(model), sets.flatMap(halvesOf), { onProgress, checkpoints }),
      )
    : undefined;
  const evidence = new Map<string, SplitEvidence>();
  for (const set of sets) {
    const parts = halvesOf(set).map(({ name }): Evidence => {
      const gate = gates?.get(name);
      return { stats: stats.get(name)!, ...(gate && { gates: gate }) };
    });
    const [first, second] = parts as [Evidence, Evidence | undefined];
    evidence.set(
      set.name,
      second === undefined
        ? { whole: first, halves: null }
        : { whole: mergeEvidence(first, second), halves: [first, second] },
    );
  }
  const tokens = tokensOfSets(measured);
  return { evidence, moments, tokens };
}

/**
 * Pools several sets into one, each counting by its weight.
 * @param evidence - by the name of the set
 * @throws GpruneError BAD_ARGUMENT for a set without evidence
 */
export function poolEvidence(
  evidence: ReadonlyMap<string, Pick<SplitEvidence, "whole">>,
  sets: readonly Pick<WeightedTokenSet, "name" | "weight">[],
): Evidence {
  const wholes = sets.map(({ name }) => {
    const found = evidence.get(name);
    if (found === undefined) throw badArgument(`evidence of ${name}`, "that of the set", "none");
    return found.whole;
  });
  const weights = sets.map(({ weight }) => weight);
  const stats = poolStats(
    wholes.map((whole) => whole.stats),
    weights,
  );
  const gates = wholes.flatMap((whole) => whole.gates ?? []);
  return gates.length === wholes.length ? { stats, gates: poolGateStats(gates, weights) } : { stats };
}

function mergeEvidence(a: Evidence, b: Evidence): Evidence {
  const stats = mergeStats(a.stats, b.stats);
  return a.gates && b.gates ? { stats, gates: mergeGateStats(a.gates, b.gates) } : { stats };
}
