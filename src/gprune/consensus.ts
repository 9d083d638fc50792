/**
 * Whether the calibration sets agree that a module's order is wrong, and how far.
 *
 * The order comes from the metric and has no noise, but may say little about the loss; marginals are the loss itself,
 * from a few windows. What a set's marginals c_u^d say beyond the order are their deviations from the module's curve,
 *
 *   e_u^d = ln c_u^d - g_u,   g the isotonic fit of ln c_u along the order, c_u pooled over the sets
 *
 * centred over the module's units. How much of the pooled deviations is more than noise of one set or another is
 * Cronbach's alpha of the sets' (shares w_d):
 *
 *   alpha = sum over d != d' of cov(w_d e^d, w_d' e^d') / (sum over d != d' of w_d w_d' * var(sum over d of w_d e^d)),   in 0..1
 *
 * With equal shares this is Cronbach's alpha, whose divisor is (D - 1) / D. Sets that say the same have alpha 1
 * whatever their shares, and a set that counts for little tells as much about the others' noise as one that counts for
 * much.
 *
 * A unit's value is the curve's, moved by alpha times the unit's own deviation (ranking.ts). With alpha 0 the order
 * alone decides, with 1 the whole deviation counts: a metric whose order is right keeps it, and one whose order is
 * wrong is corrected. Small modules (KV groups) share one alpha, since few units have nothing to estimate it from. One
 * set cannot show how much of it is noise, so its alpha is 0.
 *
 * Source: Cronbach, Coefficient alpha and the internal structure of tests (1951); moving an observation towards what is
 * expected by its unreliability is Kelley's regressed score (Interpretation of educational measurements, 1927).
 */
import type { Space } from "../model/spaces.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { clamp } from "../tensor/statistics.ts";
import { deviations, logCurve, type Marginals, type Opinion } from "./marginals.ts";
import type { ModuleOrder } from "./ordering.ts";
import type { SpaceAnalysis } from "./units.ts";

/** Alpha of every module by space id, [modules]. */
export type Consensus = ReadonlyMap<string, readonly number[]>;

/** Units that a module has at least to have an alpha of its own. */
const OWN_UNITS = 64;
/** Pooled deviations whose squares add up to less are none. */
const ROUNDING = 1e-18;

/** Variances of the deviations of one or more modules, times their units. */
interface Variances {
  /** Covariances of every set's with every other's, added up. */
  readonly between: number;
  /** Variance of the pooled ones. */
  readonly pooled: number;
}

/** What opinions are about. */
interface Subject {
  readonly analyses: readonly SpaceAnalysis[];
  /** Units that are still there. */
  readonly keep: Keep;
  /** The opinions as one. */
  readonly pooled: Marginals;
}

/** How far the sets agree about every module. */
export function consensusOf(opinions: readonly Opinion[], { analyses, keep, pooled }: Subject): Consensus {
  const variances = new Map<string, Variances>();
  const total = opinions.reduce((sum, { share }) => sum + share, 0);
  const pairs = productsOfPairs(opinions.map(({ share }) => share / total));
  for (const { space, orders } of analyses) {
    const present = new Set(keptUnits(keep, space));
    for (const order of orders) {
      const remaining = order.units.filter((unit) => present.has(unit));
      const valuesOf = (marginals: Marginals): Float64Array =>
        Float64Array.from(remaining, (unit) => marginals.get(space.id)![unit]!);
      const curve = logCurve(valuesOf(pooled));
      const sets = opinions.map(({ share, marginals }) =>
        deviations(valuesOf(marginals), curve).map((value) => share * value),
      );
      const key = estimatedWith(space, order);
      variances.set(key, added(variances.get(key), variancesOf(sets)));
    }
  }
  return new Map(
    analyses.map(({ space, orders }) => [
      space.id,
      orders.map((order) => alphaOf(variances.get(estimatedWith(space, order))!, pairs)),
    ]),
  );
}

/** Modules with the same answer have one alpha: those that are small, of a kind. */
function estimatedWith({ kind }: Space, { spaceId, module, units }: ModuleOrder): string {
  return units.length < OWN_UNITS ? kind : `${spaceId} ${module}`;
}

function added(a: Variances = { between: 0, pooled: 0 }, b: Variances): Variances {
  return { between: a.between + b.between, pooled: a.pooled + b.pooled };
}

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

/** Products of every value with every other one, added up: nothing is lost where one of them is nearly all. */
function productsOfPairs(values: readonly number[]): number {
  let [sum, products] = [0, 0];
  for (const value of values) {
    products += 2 * sum * value;
    sum += value;
  }
  return products;
}

/** @param pairs - products of every set's share with every other's, 0 when one set is all there is */
function alphaOf({ between, pooled }: Variances, pairs: number): number {
  return pairs === 0 || pooled < ROUNDING ? 0 : clamp(between / pooled / pairs, 0, 1);
}
