/**
 * Analysis of a model's units: sensitivity, modules, reliability and orders of every space, from the importance of each
 * set and its halves.
 */
import { internalError } from "../errors.ts";
import { type Space, sumOverUnits } from "../model/spaces.ts";
import type { Importance } from "../score/importance.ts";
import { behaviourModules, type UnitModules } from "./modules.ts";
import { type ModuleOrder, moduleOrders } from "./ordering.ts";
import { judgeModules, type ModuleVerdict, type SplitScores } from "./reliability.ts";
import { type Sensitivity, unitSensitivity } from "./sensitivity.ts";

/** Importance from all windows of one calibration set, and from two disjoint halves of them. */
export interface SplitImportance {
  readonly whole: Importance;
  /** Null for a set of one window. */
  readonly halves: readonly [Importance, Importance] | null;
}

/** Sensitivity, modules, verdicts and orders of one space. */
export interface SpaceAnalysis {
  readonly space: Space;
  readonly sensitivity: Sensitivity;
  readonly modules: UnitModules;
  readonly verdicts: readonly ModuleVerdict[];
  readonly orders: readonly ModuleOrder[];
  /**
   * Scores for the allocations `uniform` and `global`, [channels]: the base metric's on the pooled sets; in a module
   * that fell back, the module's scores reassigned to its units along the fallback's order.
   */
  readonly importance: Float64Array;
}

/** Options of {@link analyseUnits}. */
export interface AnalysisRequest {
  readonly spaces: readonly Space[];
  /** By set name. */
  readonly sets: ReadonlyMap<string, SplitImportance>;
  /** The base metric on the pooled sets. */
  readonly pooled: Importance;
  /** The activation-independent metric. */
  readonly fallback: Importance;
  readonly seed: number;
  readonly maxModules: number;
}

/** Analyses every space. */
export function analyseUnits(request: AnalysisRequest): readonly SpaceAnalysis[] {
  return request.spaces.map((space) => analyseSpace(request, space));
}

function analyseSpace(
  { sets, pooled, fallback, seed, maxModules }: AnalysisRequest,
  space: Space,
): SpaceAnalysis {
  const unitSums = (importance: Importance): Float64Array => sumOverUnits(scoresOf(importance, space), space);
  const split = new Map(
    Array.from(sets, ([name, { whole, halves }]): [string, SplitScores] => {
      return [name, { whole: unitSums(whole), halves: halves && [unitSums(halves[0]), unitSums(halves[1])] }];
    }),
  );
  const wholes = new Map(Array.from(split, ([name, { whole }]) => [name, whole]));
  const sensitivity = unitSensitivity(wholes);
  const modules = behaviourModules(space.id, sensitivity, { seed, maxModules });
  const verdicts = judgeModules(modules, split);
  const orders = moduleOrders({ modules, verdicts, scores: unitSums(pooled), fallback: unitSums(fallback) });
  const importance = alongOrders(scoresOf(pooled, space), space, orders);
  return { space, sensitivity, modules, verdicts, orders, importance };
}

/**
 * Reassigns channel scores inside every module: sorted by unit sums, they go to the module's units along its order. A
 * module whose order is that of the sums keeps its scores.
 */
function alongOrders(channels: Float64Array, space: Space, orders: readonly ModuleOrder[]): Float64Array {
  const { unitChannels: size } = space;
  const sums = sumOverUnits(channels, space);
  const result = new Float64Array(channels.length);
  for (const { units } of orders) {
    const donors = units.toSorted((a, b) => sums[a]! - sums[b]! || a - b);
    for (const [position, unit] of units.entries()) {
      const start = donors[position]! * size;
      result.set(channels.subarray(start, start + size), unit * size);
    }
  }
  return result;
}

function scoresOf(importance: Importance, { id }: Space): Float64Array {
  const scores = importance.get(id);
  if (scores === undefined) throw internalError(`no importance of ${id}`);
  return scores;
}
