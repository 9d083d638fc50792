/**
 * A second opinion on what units cost, which the loss's marginals are moved towards.
 *
 * Marginals are the loss itself, but local: they say what a little less of a unit costs on the kinds of text that were
 * given, not what it costs that the unit is gone, nor what it is worth elsewhere. The fluctuation of what a unit adds
 * to the stream (FLAP's standardised WIFV) knows of no loss, so it errs in other ways. Both are noisy estimates of one
 * quantity, and their geometric mean is nearer to it than either:
 *
 *   v_u <- v_u^(1 - b) * h_u^b
 *
 * h is the fluctuation along the module's order, made non-decreasing, on the scale of the marginals: the units that are
 * still there, ranked by fluctuation, get the values of the same ranks of v, counted in parameters. So only its order
 * among all units matters, and inside a module the module's order still decides.
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

/** Values that can be compared between the units of all spaces, by space id, [units]. */
export type Prior = ReadonlyMap<string, Float64Array>;

/** How much the prior counts against the marginals. */
const SHARE = 1 / 4;

/** The fluctuation of what every unit adds to the stream, in all sets together. */
export async function fluctuationPrior(model: Model, stats: CalibrationStats): Promise<Prior> {
  const importance = await scoreModel({ model, metric: metricByName("flap-wifv"), stats, seed: 0 });
  return new Map(
    spacesOf(model.spec).map((space) => [space.id, standardisedUnits(importance.get(space.id)!, space)]),
  );
}

/** The units of a module that are still there, along its order, and what they cost per parameter. */
export interface ValuedModule {
  readonly space: Space;
  readonly units: readonly number[];
  /** What each of those units costs per parameter, [units], not negative. */
  readonly values: Float64Array;
}

/** The same modules with values moved towards the prior. */
export function towardsPrior(modules: readonly ValuedModule[], prior: Prior): readonly ValuedModule[] {
  const flattened = (each: (module: ValuedModule) => Float64Array): Float64Array =>
    Float64Array.from(modules.flatMap((module) => [...each(module)]));
  const values = flattened((module) => module.values);
  const logs = logsOf(values);
  const opinions = flattened(({ space, units }) =>
    Float64Array.from(units, (unit) => prior.get(space.id)![unit]!),
  );
  const masses = flattened(({ space, units }) => new Float64Array(units.length).fill(space.unitParameters));
  const matched = matchedQuantiles(opinions, logs, masses);
  let start = 0;
  return modules.map((module) => {
    const end = start + module.units.length;
    const curve = isotonic(matched.subarray(start, end));
    const measured = logs.subarray(start, end);
    start = end;
    return { ...module, values: measured.map((log, u) => Math.exp((1 - SHARE) * log + SHARE * curve[u]!)) };
  });
}

/**
 * For every item the value that the item of the same rank has, ranks counted in mass: the item whose share of all mass
 * lies around the middle of this one's. A pure function of the two orders; equal values by index.
 * @param by - what items are ranked by, [n]
 * @param values - whose distribution the result has, [n]
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
