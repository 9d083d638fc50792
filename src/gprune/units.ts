/**
 * Who competes with whom, scored by what: sensitivity, modules, reliability and orders of a whole model, from the
 * importance of each set and its halves.
 */
import { internalError } from "../errors.ts";
import type { Space } from "../model/spaces.ts";
import { type Importance, unitScores } from "../score/importance.ts";
import { behaviourModules, type UnitModules } from "./modules.ts";
import { type ModuleOrder, moduleOrders } from "./ordering.ts";
import { judgeModules, type ModuleVerdict, type SplitScores } from "./reliability.ts";
import { type Sensitivity, unitSensitivity } from "./sensitivity.ts";

/** Importance of one calibration set: from all its windows, and from two disjoint halves of them where there are two. */
export interface SplitImportance {
  readonly whole: Importance;
  readonly halves: readonly [Importance, Importance] | null;
}

/** What GPrune knows about one space. */
export interface SpaceAnalysis {
  readonly space: Space;
  readonly sensitivity: Sensitivity;
  readonly modules: UnitModules;
  readonly verdicts: readonly ModuleVerdict[];
  readonly orders: readonly ModuleOrder[];
  /**
   * Units' scores for allocations that compare scores, [units]: the base metric's, and in a module that fell back the
   * same values dealt out along the fallback's order.
   */
  readonly scores: Float64Array;
}

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
  const of = (importance: Importance): Float64Array => unitScores(channelsOf(importance, space), space);
  const split = new Map(
    Array.from(sets, ([name, { whole, halves }]): [string, SplitScores] => {
      return [name, { whole: of(whole), halves: halves && [of(halves[0]), of(halves[1])] }];
    }),
  );
  const wholes = new Map(Array.from(split, ([name, { whole }]) => [name, whole]));
  const sensitivity = unitSensitivity(wholes);
  const modules = behaviourModules(space.id, sensitivity, { seed, maxModules });
  const verdicts = judgeModules(modules, split);
  const base = of(pooled);
  const orders = moduleOrders({ modules, verdicts, scores: base, fallback: of(fallback) });
  return { space, sensitivity, modules, verdicts, orders, scores: dealt(base, orders) };
}

/** In every module the module's own scores, ascending, along the module's order. */
function dealt(scores: Float64Array, orders: readonly ModuleOrder[]): Float64Array {
  const result = new Float64Array(scores.length);
  for (const { units } of orders) {
    const sorted = Float64Array.from(units, (unit) => scores[unit]!).sort();
    for (const [position, unit] of units.entries()) result[unit] = sorted[position]!;
  }
  return result;
}

function channelsOf(importance: Importance, { id }: Space): Float64Array {
  const scores = importance.get(id);
  if (scores === undefined) throw internalError(`no importance of ${id}`);
  return scores;
}
