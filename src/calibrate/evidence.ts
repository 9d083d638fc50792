/**
 * All that calibration tells about a model: activation statistics of every set and, when asked for, gate gradients,
 * each from the whole set and from two disjoint halves of it, by which their reliability is judged; and the moments
 * that least squares needs, from the same pass.
 */

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

/** What some windows say. */
export interface Evidence {
  readonly stats: CalibrationStats;
  /** Absent unless gradients were asked for. */
  readonly gates?: GateStats;
}

/** What a set says, whole and by halves. */
export interface SplitEvidence {
  readonly whole: Evidence;
  /** Null for a set of one window. */
  readonly halves: readonly [Evidence, Evidence] | null;
}

/** What is gathered besides statistics, and how. */
export interface GatheringOptions {
  readonly gradients?: boolean;
  /** Sets that moments are gathered over, the first ones of the same windows, or all and more; none when absent. */
  readonly fitted?: readonly WeightedTokenSet[];
  readonly onProgress?: OnProgress;
  readonly stages?: Stages;
}

/** What calibration found. */
export interface Gathered {
  /** Evidence of every set, by name, in the order given. */
  readonly evidence: ReadonlyMap<string, SplitEvidence>;
  /** Over all fitted sets; empty where there are none. */
  readonly moments: Moments;
  /** Tokens of all windows together. */
  readonly tokens: number;
}

/**
 * Evidence of every set, and moments over some. @throws GpruneError BAD_ARGUMENT for a fitted set without tokens or
 * weight
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

/** Several sets as one, each counting by its weight. */
export function poolEvidence(sets: readonly Evidence[], weights: readonly number[]): Evidence {
  const stats = poolStats(
    sets.map((set) => set.stats),
    weights,
  );
  const gates = sets.flatMap((set) => (set.gates === undefined ? [] : [set.gates]));
  return gates.length === sets.length ? { stats, gates: poolGateStats(gates, weights) } : { stats };
}

function mergeEvidence(a: Evidence, b: Evidence): Evidence {
  const stats = mergeStats(a.stats, b.stats);
  return a.gates && b.gates ? { stats, gates: mergeGateStats(a.gates, b.gates) } : { stats };
}
