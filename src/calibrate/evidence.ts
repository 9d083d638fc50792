/**
 * All that calibration tells about a model: activation statistics of every set and, when asked for, gate gradients,
 * each from the whole set and from two disjoint halves of it, by which their reliability is judged.
 */
import type { Model } from "../model/model.ts";
import { type OnProgress, silent } from "../progress.ts";
import { type Checkpoints, NO_STAGES, type Stages } from "../stages.ts";
import type { CalibrationState, TokenSet } from "./calibrate.ts";
import { type GateStats, type GateStatsState, mergeGateStats, poolGateStats } from "./gate_stats.ts";
import type { Passes } from "./passes.ts";
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

/** Evidence of every set, by name, in the order given. */
export async function gatherEvidence(
  { model, passes }: { readonly model: Model; readonly passes: Passes },
  sets: readonly TokenSet[],
  {
    gradients = false,
    onProgress = silent,
    stages = NO_STAGES,
  }: { readonly gradients?: boolean; readonly onProgress?: OnProgress; readonly stages?: Stages } = {},
): Promise<ReadonlyMap<string, SplitEvidence>> {
  const halves = sets.flatMap(halvesOf);
  const stats = await stages.run("calibrate", (checkpoints: Checkpoints<CalibrationState>) =>
    passes.statistics(halves, { onProgress, checkpoints }),
  );
  const gates = gradients
    ? await stages.run("gradients", (checkpoints: Checkpoints<GateStatsState>) =>
        passes.gateStatistics({ model, recipe: {} }, halves, { onProgress, checkpoints }),
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
  return evidence;
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

/** Even and odd windows as two sets; one set when there is a single window. */
export function halvesOf({ name, windows }: TokenSet): readonly HalfSet[] {
  const all = [...windows.keys()];
  const halves = all.length < 2 ? [all] : [0, 1].map((rest) => all.filter((place) => place % 2 === rest));
  return halves.map((places, half) => {
    const own = places.map((place) => windows[place]!);
    return { name: `${name}/${half + 1}`, partOf: name, windows: own, places };
  });
}

/** A part of a set. */
interface HalfSet extends TokenSet {
  /** Indices of its windows among those of the set. */
  readonly places: readonly number[];
}
