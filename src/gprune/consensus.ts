/**
 * Consensus: how far the calibration sets agree that a module's order is wrong.
 *
 * The order comes from the metric and has no noise, but may say little about the loss; marginals measure the loss, but
 * on a few windows. Where a set's marginals c_u^d contradict the order, they deviate from the module's curve:
 *
 *   e_u^d = ln c_u^d - g_u,   g the isotonic fit of ln c_u along the order, c_u pooled over the sets
 *
 * centred over the module's units. The share of the pooled deviations' variance that is common to the sets, and not
 * noise of single ones, is Cronbach's alpha, here with shares w_d:
 *
 *   alpha = sum over d != d' of cov(w_d e^d, w_d' e^d')
 *           / (sum over d != d' of w_d w_d' * var(sum over d of w_d e^d)),   clipped to 0..1
 *
 * With equal shares the divisor is (D - 1) / D, as in Cronbach's formula. Identical sets have alpha 1 whatever their
 * shares, and a set with a small share tells as much about the others' noise as one with a large share.
 *
 * A unit's value is the curve's, moved by alpha times the unit's own deviation (ranking.ts). With alpha 0 the order
 * alone decides, with 1 the whole deviation counts: an order that is right is kept, one that is wrong is corrected.
 * Small modules (KV groups) share one alpha, since a few units are too few to estimate it. A single set cannot show how
 * much of it is noise, so alpha is then 0.
 *
 * Source: Cronbach, Coefficient alpha and the internal structure of tests (1951); shrinking an observation towards its
 * expectation by its unreliability is Kelley's regressed score (Interpretation of educational measurements, 1927).
 */
import type { Space } from "../model/spaces.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { clamp } from "../tensor/statistics.ts";
import type { SpaceAnalysis } from "./analysis.ts";
import { deviations, logCurve, type Marginals, pooledMarginals, type SetMarginals } from "./marginals.ts";
import type { ModuleOrder } from "./ordering.ts";

/** Alpha of every module by space id, [modules]. */
export type Consensus = ReadonlyMap<string, readonly number[]>;

/** Smallest module with an alpha of its own, in units. */
const OWN_ALPHA_UNITS = 64;
/** Smaller sums of squared pooled deviations are rounding errors. */
const ROUNDING = 1e-18;

/** Variances of the sets' weighted deviations, times units, summed over the modules that share one alpha. */
interface Variances {
  /** Sum of the covariances of every two different sets. */
  readonly between: number;
  /** Variance of the deviations summed over the sets. */
  readonly pooled: number;
}

interface ConsensusOptions {
  readonly analyses: readonly SpaceAnalysis[];
  /** Units not yet removed. */
  readonly keep: Keep;
}

/** Alpha of every module. */
export function consensusOf(sets: readonly SetMarginals[], { analyses, keep }: ConsensusOptions): Consensus {
  const pooled = pooledMarginals(sets);
  const variances = new Map<string, Variances>();
  const total = sets.reduce((sum, { weight }) => sum + weight, 0);
  const pairs = productsOfPairs(sets.map(({ weight }) => weight / total));
  for (const { space, orders } of analyses) {
    const present = new Set(keptUnits(keep, space));
    for (const order of orders) {
      const remaining = order.units.filter((unit) => present.has(unit));
      const valuesOf = (marginals: Marginals): Float64Array =>
        Float64Array.from(remaining, (unit) => marginals.get(space.id)![unit]!);
      const curve = logCurve(valuesOf(pooled));
      const weighted = sets.map(({ weight, marginals }) =>
        deviations(valuesOf(marginals), curve).map((value) => weight * value),
      );
      const key = alphaKey(space, order);
      variances.set(key, addVariances(variances.get(key), variancesOf(weighted)));
    }
  }
  return new Map(
    analyses.map(({ space, orders }) => [
      space.id,
      orders.map((order) => alphaOf(variances.get(alphaKey(space, order))!, pairs)),
    ]),
  );
}

/** Modules with equal keys share one alpha: the small modules of a kind of space. */
function alphaKey({ kind }: Space, { spaceId, module, units }: ModuleOrder): string {
  return units.length < OWN_ALPHA_UNITS ? kind : `${spaceId} ${module}`;
}

function addVariances(a: Variances = { between: 0, pooled: 0 }, b: Variances): Variances {
  return { between: a.between + b.between, pooled: a.pooled + b.pooled };
}

/** @param sets - weighted deviations of one module's units, one array for each set */
function variancesOf(sets: readonly Float64Array[]): Variances {
  let between = 0;
  let pooled = 0;
  for (let u = 0; u < (sets[0]?.length ?? 0); u++) {
    const values = sets.map((set) => set[u]!);
    between += productsOfPairs(values);
    pooled += values.reduce((sum, value) => sum + value, 0) ** 2;
  }
  return { between, pooled };
}

/** Sum of products over all ordered pairs of values; no cancellation where one value is much larger than the rest. */
function productsOfPairs(values: readonly number[]): number {
  let [sum, products] = [0, 0];
  for (const value of values) {
    products += 2 * sum * value;
    sum += value;
  }
  return products;
}

/** @param pairs - sum over d != d' of w_d w_d', 0 for a single set */
function alphaOf({ between, pooled }: Variances, pairs: number): number {
  return pairs === 0 || pooled < ROUNDING ? 0 : clamp(between / pooled / pairs, 0, 1);
}
