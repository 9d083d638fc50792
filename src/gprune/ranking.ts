/**
 * From marginals to kept units. A module's units are removed in the module's order, so their values are a marginal
 * curve that does not decrease along it. Where the calibration sets agree that a unit costs more or less than its place
 * in the order suggests, its value moves from the curve towards the unit's own marginal (consensus.ts):
 *
 *   v_u = f_u * exp(alpha * e_u),   f the isotonic fit of the marginals, scaled so that the module's sum stays
 *
 * These values are moved towards a prior, if there is one (prior.ts). All units are then ranked by value per parameter
 * and removed until the budget is met, which is bisection for the budget's Lagrange multiplier down to the last unit.
 */
import type { Shape } from "../base/choices.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { removeRanked } from "../prune/ranked.ts";
import type { RankedSpace } from "../prune/removal.ts";
import type { SpaceAnalysis } from "./analysis.ts";
import type { Consensus } from "./consensus.ts";
import { isotonic } from "./isotonic.ts";
import { deviations, logCurve, type Marginals } from "./marginals.ts";
import { type Prior, towardsPrior, type ValuedModule } from "./prior.ts";

/** Modules, budget, and the corrections of marginals. */
export interface MarginalRemoval {
  readonly spec: ModelSpec;
  readonly analyses: readonly SpaceAnalysis[];
  /** Units not yet removed; the others rank below them. */
  readonly keep: Keep;
  readonly sparsity: number;
  readonly roundTo: number;
  readonly shape: Shape;
  /** Alpha of every module; 0 for all when absent. */
  readonly consensus?: Consensus;
  /** Values are moved towards it; they stay as they are when absent. */
  readonly prior?: Prior;
}

/** @returns kept units of every space that loses some */
export function removeByMarginals(marginals: Marginals, removal: MarginalRemoval): Keep {
  return removeRanked(rankByMarginals(marginals, removal), removal);
}

/** The value of every unit, by which `removeRanked` removes them. */
export function rankByMarginals(marginals: Marginals, removal: MarginalRemoval): readonly RankedSpace[] {
  const { analyses, keep, shape, consensus, prior } = removal;
  const measured = analyses.flatMap((analysis) => {
    const { space } = analysis;
    const kept = keptUnits(keep, space);
    const alphas = consensus?.get(space.id);
    return valuedModules(analysis, { marginal: marginals.get(space.id)!, kept, alphas });
  });
  const modules = prior === undefined ? measured : towardsPrior(measured, prior);
  // Removed units rank below all others, but by a value of their magnitude: sums over both must stay precise.
  const removed = -(largestOf(modules.map(({ values }) => values)) || 1);
  const values = new Map(
    analyses.map(({ space }) => [space.id, new Float64Array(space.units).fill(removed)]),
  );
  for (const { space, units, values: costs } of modules) {
    for (const [position, unit] of units.entries()) values.get(space.id)![unit] = costs[position]!;
  }
  return analyses.map((analysis) => {
    const { space } = analysis;
    const ranked = { space, values: values.get(space.id)!, ties: positions(analysis) };
    if (shape === "per-layer") return ranked;
    return withCostsOfRemoved(ranked, { marginal: marginals.get(space.id)!, kept: keptUnits(keep, space) });
  });
}

/**
 * With shape uniform, removed units are weighed against the others again in every round. They cost what they did when
 * they were last present, but at most as much as the cheapest present unit, so that they stay first in the order.
 */
function withCostsOfRemoved(
  { space, values, ties }: Required<RankedSpace>,
  { marginal, kept }: Pick<SpaceMarginals, "marginal" | "kept">,
): RankedSpace {
  const present = new Set(kept);
  const cheapest = kept.reduce((least, unit) => Math.min(least, values[unit]!), Number.POSITIVE_INFINITY);
  return {
    space,
    values: values.map((value, unit) => {
      return present.has(unit) ? value : Math.min(marginal[unit]! / space.unitParameters, cheapest);
    }),
    ties: ties.map((tie, unit) => (present.has(unit) ? tie : tie - 1)),
  };
}

/** Marginals, remaining units and consensus of one space. */
interface SpaceMarginals {
  /** [units] */
  readonly marginal: Float64Array;
  /** Units not yet removed, ascending. */
  readonly kept: readonly number[];
  /** Alpha of every module; undefined without consensus. */
  readonly alphas: readonly number[] | undefined;
}

/** The modules of a space with the values per parameter of their remaining units. */
function valuedModules(
  { space, orders }: SpaceAnalysis,
  { marginal, kept, alphas }: SpaceMarginals,
): readonly ValuedModule[] {
  const present = new Set(kept);
  return orders.map(({ units: order }, module) => {
    const units = order.filter((unit) => present.has(unit));
    const marginals = Float64Array.from(units, (unit) => marginal[unit]!);
    const costs = correctedCurve(marginals, alphas?.[module] ?? 0);
    return { space, units, values: costs.map((cost) => cost / space.unitParameters) };
  });
}

/** v: the isotonic fit of a module's marginals, moved towards the units' own, sum unchanged. */
function correctedCurve(marginals: Float64Array, alpha: number): Float64Array {
  const curve = isotonic(marginals);
  const total = sum(curve);
  if (alpha === 0 || total === 0) return curve;
  const errors = deviations(marginals, logCurve(marginals));
  const values = curve.map((value, position) => value * Math.exp(alpha * errors[position]!));
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
 * Relative position of every unit in its module's order, 0..1; decides between the equal values of pooled stretches.
 */
function positions({ space, orders }: SpaceAnalysis): Float64Array {
  const result = new Float64Array(space.units);
  for (const { units } of orders) {
    for (const [position, unit] of units.entries()) result[unit] = position / units.length;
  }
  return result;
}
