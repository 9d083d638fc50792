/**
 * From marginals to kept units. Inside a module units go in the module's own order, so its marginal curve is what its
 * units cost along that order, made non-decreasing; where the calibration sets agree that a unit costs more or less
 * than its place says, its value moves from the curve towards its own (consensus.ts):
 *
 *   v_u = f_u * exp(alpha * e_u),   f the isotonic fit of the marginals, scaled so that the module's sum stays
 *
 * Those values are moved towards a prior, where there is one (prior.ts). All units are then ranked by value per
 * parameter and removed until the budget is met exactly, which is the bisection for one multiplier carried to the last
 * unit.
 */
import type { Shape } from "../base/choices.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { removeRanked } from "../prune/ranked.ts";
import type { RankedSpace } from "../prune/removal.ts";
import type { Consensus } from "./consensus.ts";
import { isotonic } from "./isotonic.ts";
import { deviations, logCurve, type Marginals } from "./marginals.ts";
import { type Prior, towardsPrior, type ValuedModule } from "./prior.ts";
import type { SpaceAnalysis } from "./units.ts";

export interface MarginalRemoval {
  readonly spec: ModelSpec;
  readonly analyses: readonly SpaceAnalysis[];
  /** Units that are still there; the others go first. */
  readonly keep: Keep;
  readonly sparsity: number;
  readonly roundTo: number;
  readonly shape: Shape;
  /** How far the sets agree that the orders are wrong; not at all when absent. */
  readonly consensus?: Consensus;
  /** What values are moved towards; they stay when absent. */
  readonly prior?: Prior;
}

/** @returns kept units of every space that loses some */
export function removeByMarginals(marginals: Marginals, removal: MarginalRemoval): Keep {
  return removeRanked(rankByMarginals(marginals, removal), removal);
}

/** The values by which units go. */
export function rankByMarginals(marginals: Marginals, removal: MarginalRemoval): readonly RankedSpace[] {
  const { analyses, keep, shape, consensus, prior } = removal;
  const measured = analyses.flatMap((analysis) => {
    const { space } = analysis;
    const kept = keptUnits(keep, space);
    const alphas = consensus?.get(space.id);
    return valuedModules(analysis, { marginal: marginals.get(space.id)!, kept, alphas });
  });
  const modules = prior === undefined ? measured : towardsPrior(measured, prior);
  // Units that are gone already stay below all others, and do not drown them where values are added up.
  const gone = -(largestOf(modules.map(({ values }) => values)) || 1);
  const values = new Map(analyses.map(({ space }) => [space.id, new Float64Array(space.units).fill(gone)]));
  for (const { space, units, values: costs } of modules) {
    for (const [position, unit] of units.entries()) values.get(space.id)![unit] = costs[position]!;
  }
  return analyses.map((analysis) => {
    const { space } = analysis;
    const ranked = { space, values: values.get(space.id)!, ties: positions(analysis) };
    if (shape === "per-layer") return ranked;
    return withCostsOfGone(ranked, { marginal: marginals.get(space.id)!, kept: keptUnits(keep, space) });
  });
}

/**
 * Where all layers give as much, units that are gone are weighed against others again in every round: they cost what
 * they did when they were last there, and no more than the cheapest unit that is, so that they stay first in the order.
 */
function withCostsOfGone(
  { space, values, ties }: Required<RankedSpace>,
  { marginal, kept }: Pick<SpaceMarginals, "marginal" | "kept">,
): RankedSpace {
  const present = new Set(kept);
  const least = kept.reduce((least, unit) => Math.min(least, values[unit]!), Number.POSITIVE_INFINITY);
  return {
    space,
    values: values.map((value, unit) => {
      return present.has(unit) ? value : Math.min(marginal[unit]! / space.unitParameters, least);
    }),
    ties: ties.map((tie, unit) => (present.has(unit) ? tie : tie - 1)),
  };
}

/** What is known of one space. */
interface SpaceMarginals {
  readonly marginal: Float64Array;
  /** Units that are still there. */
  readonly kept: readonly number[];
  /** Alpha of every module; undefined where nothing is known of consensus. */
  readonly alphas: readonly number[] | undefined;
}

/** What a space's units that are still there cost per parameter. */
function valuedModules(
  { space, orders }: SpaceAnalysis,
  { marginal, kept, alphas }: SpaceMarginals,
): readonly ValuedModule[] {
  const present = new Set(kept);
  return orders.map(({ units: order }, module) => {
    const units = order.filter((unit) => present.has(unit));
    const marginals = Float64Array.from(units, (unit) => marginal[unit]!);
    const costs = moved(marginals, alphas?.[module] ?? 0);
    return { space, units, values: costs.map((cost) => cost / space.unitParameters) };
  });
}

/** The non-decreasing curve of a module's marginals, moved towards each of them. */
function moved(marginals: Float64Array, alpha: number): Float64Array {
  const curve = isotonic(marginals);
  const total = sum(curve);
  if (alpha === 0 || total === 0) return curve;
  const apart = deviations(marginals, logCurve(marginals));
  const values = curve.map((value, position) => value * Math.exp(alpha * apart[position]!));
  const scale = total / sum(values);
  return values.map((value) => scale * value);
}

function largestOf(arrays: readonly Float64Array[]): number {
  return arrays.reduce((most, values) => values.reduce((max, value) => Math.max(max, value), most), 0);
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * Every unit's place in its module's order, 0..1: pooled stretches of a curve are equal, and the order holds in them.
 */
function positions({ space, orders }: SpaceAnalysis): Float64Array {
  const result = new Float64Array(space.units);
  for (const { units } of orders) {
    for (const [position, unit] of units.entries()) result[unit] = position / units.length;
  }
  return result;
}
