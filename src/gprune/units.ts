/**
 * Who competes with whom, scored by what: sensitivity, modules, reliability and orders of a whole model, from the
 * importance of each set and its halves.
 */
import { internalError } from "../errors.ts";
import { type Space, sumOverUnits } from "../model/spaces.ts";
import type { Importance } from "../score/importance.ts";
import { behaviourModules, type UnitModules } from "./modules.ts";
import { type ModuleOrder, moduleOrders } from "./ordering.ts";
import { judgeModules, type ModuleVerdict, type SplitScores } from "./reliability.ts";
import { type Sensitivity, unitSensitivity } from "./sensitivity.ts";

/**
 * Importance of one calibration set: from all its windows, and from two disjoint halves of them where there are two.
 */
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
   * Channel scores for allocations that compare scores, [channels]: the base metric's on the pooled sets, and in a
   * module that fell back the same units' scores dealt out along the fallback's order.
   */
  readonly importance: Float64Array;
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
  const unitSums = (importance: Importance): Float64Array =>
    sumOverUnits(channelsOf(importance, space), space);
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
  const importance = dealt(channelsOf(pooled, space), space, orders);
  return { space, sensitivity, modules, verdicts, orders, importance };
}

/**
 * In every module the channels of the module's own units, ascending by their sums, along the module's order: the same
 * channels where that is the order of the sums.
 */
function dealt(channels: Float64Array, space: Space, orders: readonly ModuleOrder[]): Float64Array {
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

function channelsOf(importance: Importance, { id }: Space): Float64Array {
  const scores = importance.get(id);
  if (scores === undefined) throw internalError(`no importance of ${id}`);
  return scores;
}
