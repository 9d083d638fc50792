/**
 * Prior: a second estimate of what removing each unit costs, towards which the marginals are moved.
 *
 * Marginals come from the loss but are local: they measure the cost of slightly less of a unit on the given kinds of
 * text, not the cost of its removal, nor its worth on other text. The fluctuation of a unit's contribution to the
 * stream (FLAP's standardised WIFV) is independent of the loss, so it errs in other ways. Both are noisy estimates of
 * one quantity, and their geometric mean is nearer to it than either:
 *
 *   v_u <- v_u^(1 - b) * h_u^b
 *
 * h is the fluctuation on the scale of the marginals: the remaining units, ranked by fluctuation, get the values of v
 * at the same ranks, counted in parameters; h is then made non-decreasing along each module's order. So only the
 * fluctuation's ranking of all units matters, and inside a module the module's order still decides.
 *
 * Source: the fluctuation is FLAP's AL-AM (arXiv 2312.11983); quantiles are matched as in Bolstad et al., A comparison
 * of normalization methods (2003). That a mean of estimates with different errors is better than each is Bates and
 * Granger, The combination of forecasts (1969).
 */
import type { CalibrationStats } from "../calibrate/stats.ts";
import type { Model } from "../model/model.ts";
import { type Space, spacesOf } from "../model/spaces.ts";
import { standardisedUnits } from "../prune/allocate_global.ts";
import { scoreModel } from "../score/importance.ts";
import { metricByName } from "../score/registry.ts";
import { ascendingOrder } from "../tensor/statistics.ts";
import { isotonic } from "./isotonic.ts";
import { logsOf } from "./marginals.ts";

/** Values that are comparable across all spaces, by space id, [units]. */
export type Prior = ReadonlyMap<string, Float64Array>;

/** b, the weight of the prior in the geometric mean. */
const PRIOR_WEIGHT = 1 / 4;

/** Standardised fluctuation of every unit's contribution to the stream, over all sets together. */
export async function fluctuationPrior(model: Model, stats: CalibrationStats): Promise<Prior> {
  const importance = await scoreModel({ model, metric: metricByName("flap-wifv"), stats, seed: 0 });
  return new Map(
    spacesOf(model.spec).map((space) => [space.id, standardisedUnits(importance.get(space.id)!, space)]),
  );
}

/** The remaining units of a module, along its order, and their values. */
export interface ValuedModule {
  readonly space: Space;
  readonly units: readonly number[];
  /** Estimated cost per parameter of removing each of these units, [units], not negative. */
  readonly values: Float64Array;
}

/** The same modules with values moved towards the prior. */
export function towardsPrior(modules: readonly ValuedModule[], prior: Prior): readonly ValuedModule[] {
  const concatenated = (each: (module: ValuedModule) => Float64Array): Float64Array =>
    Float64Array.from(modules.flatMap((module) => [...each(module)]));
  const logs = logsOf(concatenated((module) => module.values));
  const fluctuations = concatenated(({ space, units }) =>
    Float64Array.from(units, (unit) => prior.get(space.id)![unit]!),
  );
  const parameters = concatenated(({ space, units }) =>
    new Float64Array(units.length).fill(space.unitParameters),
  );
  const matched = matchedQuantiles(fluctuations, logs, parameters);
  let start = 0;
  return modules.map((module) => {
    const end = start + module.units.length;
    const curve = isotonic(matched.subarray(start, end));
    const measured = logs.subarray(start, end);
    start = end;
    const values = measured.map((log, u) => Math.exp((1 - PRIOR_WEIGHT) * log + PRIOR_WEIGHT * curve[u]!));
    return { ...module, values };
  });
}

/**
 * Quantile matching: gives the items, ranked by `by`, the values of the same ranks. Ranks are counted in mass: an item
 * gets the value whose item covers the middle of its own mass. Depends on the two orders only; ties by index.
 * @param by - keys that rank the items, [n]
 * @param values - distribution of the result, [n]
 * @param masses - positive, [n]
 */
export function matchedQuantiles(by: Float64Array, values: Float64Array, masses: Float64Array): Float64Array {
  const donors = ascendingOrder(values);
  const result = new Float64Array(by.length);
  let donor = 0;
  let covered = masses[donors[0]!] ?? 0;
  let passed = 0;
  for (const item of ascendingOrder(by)) {
    const middle = passed + masses[item]! / 2;
    while (covered < middle && donor < donors.length - 1) {
      donor += 1;
      covered += masses[donors[donor]!]!;
    }
    result[item] = values[donors[donor]!]!;
    passed += masses[item]!;
  }
  return result;
}
