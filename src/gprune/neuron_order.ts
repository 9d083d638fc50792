/**
 * Reorders neurons by their worth to the refitted model. The learned order is the metric's, corrected by gradients of
 * rounds that saw few windows and a mean-compensated model. The squared gate gradients of single tokens, measured on
 * the model that least squares refitted (calibrate/slopes.ts), err in other ways and cover removed neurons too. So
 * neurons are sorted by
 *
 *   ln f_u + ln q_u,   f_u the sum of these squares, pooled over the sets
 *                      q_u the value of sorted f at u's place in the learned order
 *
 * which averages the two rankings on the scale of f: of the learned order only the ranks count. Experts lose as many
 * neurons each, so each has a ranking of its own.
 */
import type { SlopeStats } from "../calibrate/slopes.ts";
import { spacesOf } from "../model/spaces.ts";
import { byPart, interleaveParts } from "../prune/removal.ts";
import { ascendingOrder } from "../tensor/statistics.ts";
import { logsOf, type Marginals, pooledMarginals } from "./marginals.ts";
import { weightOf } from "./set_weights.ts";
import type { UnitOrder, WidthRequest } from "./width_moves.ts";

/**
 * The learned order with the measured neurons reordered. A pure function; neurons of equal values keep their order.
 * @param weights - of every set by name
 */
export function reorderedNeurons(
  { spec, order: learned }: Pick<WidthRequest, "spec" | "order">,
  measured: ReadonlyMap<string, SlopeStats>,
  weights: ReadonlyMap<string, number>,
): UnitOrder {
  const pooled = pooledNeurons(measured, weights);
  return new Map(
    spacesOf(spec).map((space) => {
      const order = learned.get(space.id)!;
      const values = pooled.get(space.id);
      if (values === undefined) return [space.id, order];
      const ofParts = byPart(order, space).flatMap((units) => reorder(units, values));
      return [space.id, interleaveParts(ofParts, space)];
    }),
  );
}

/** @param order - of all neurons of a part; @param values - f of the space, [units] */
function reorder(order: readonly number[], values: Float64Array): readonly number[] {
  const logsByUnit = logsOf(values);
  const logs = Float64Array.from(order, (unit) => logsByUnit[unit]!);
  const quantiles = logs.toSorted();
  const places = ascendingOrder(logs.map((log, place) => log + quantiles[place]!));
  return Array.from(places, (place) => order[place]!);
}

/** Sum over the sets, each set's values scaled to add up to its weight over the model. */
function pooledNeurons(
  measured: ReadonlyMap<string, SlopeStats>,
  weights: ReadonlyMap<string, number>,
): Marginals {
  return pooledMarginals(
    Array.from(measured, ([name, { neurons }]) => {
      let total = 0;
      for (const values of neurons.values()) for (const value of values) total += value;
      return { weight: total > 0 ? weightOf(weights, name) / total : 0, marginals: neurons };
    }),
  );
}
