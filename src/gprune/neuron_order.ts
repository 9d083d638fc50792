/**
 * Neurons ordered anew by what the refitted model says of each. The learned order is the metric's, moved by the
 * gradients of rounds that saw few windows and a model with compensated means; what the loss loses with each neuron,
 * squared token by token at the model that least squares has refitted (calibrate/slopes.ts), errs in other ways, and it
 * also knows the neurons that are gone. So each neuron's place is that of
 *
 *   ln f_u + ln q_u,   f_u what the loss says, pooled over the sets, q_u the value of f that has the learned order's place
 *
 * which is the mean of two rankings on the scale of one of them: only ranks of the learned order count.
 */
import type { SlopeStats } from "../calibrate/slopes.ts";
import { ascendingOrder } from "../tensor/statistics.ts";
import { logsOf, type Marginals, pooledMarginals } from "./marginals.ts";
import { weightOf } from "./set_weights.ts";
import type { UnitOrder } from "./width_moves.ts";

/**
 * The learned order with neurons that were measured ordered anew. A pure function; equal values keep their places.
 * @param weights - of every set by name
 */
export function reorderedNeurons(
  learned: UnitOrder,
  measured: ReadonlyMap<string, SlopeStats>,
  weights: ReadonlyMap<string, number>,
): UnitOrder {
  const pooled = pooledNeurons(measured, weights);
  return new Map(
    Array.from(learned, ([id, order]) => {
      const values = pooled.get(id);
      return [id, values === undefined ? order : reordered(order, values)];
    }),
  );
}

function reordered(order: readonly number[], values: Float64Array): readonly number[] {
  const all = logsOf(values);
  const logs = Float64Array.from(order, (unit) => all[unit]!);
  const quantiles = logs.toSorted();
  const places = ascendingOrder(logs.map((log, place) => log + quantiles[place]!));
  return Array.from(places, (place) => order[place]!);
}

/** Every set's values add up to its weight over the model. */
function pooledNeurons(
  measured: ReadonlyMap<string, SlopeStats>,
  weights: ReadonlyMap<string, number>,
): Marginals {
  return pooledMarginals(
    Array.from(measured, ([name, { neurons }]) => {
      let total = 0;
      for (const values of neurons.values()) for (const value of values) total += value;
      return { share: total > 0 ? weightOf(weights, name) / total : 0, marginals: neurons };
    }),
  );
}
