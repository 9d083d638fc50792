/**
 * From marginals to kept units. Inside a module units go in the module's own order, so its marginal curve is what its
 * units cost along that order, made non-decreasing; all units are then ranked by curve value per parameter and removed
 * until the budget is met exactly, which is the bisection for one multiplier carried to the last unit.
 */
import type { ModelSpec } from "../model/spec.ts";
import type { Shape } from "../prune/allocation.ts";
import type { Keep } from "../prune/plan.ts";
import { removeRanked } from "../prune/ranked.ts";
import { isotonic } from "./isotonic.ts";
import type { SpaceAnalysis } from "./units.ts";

/** What the model loses with every unit by space id, [units]; units that are gone have none. */
export type Marginals = ReadonlyMap<string, Float64Array>;

export interface MarginalRemoval {
  readonly spec: ModelSpec;
  readonly analyses: readonly SpaceAnalysis[];
  /** Units that are still there; the others go first. */
  readonly keep: Keep;
  readonly sparsity: number;
  readonly roundTo: number;
  readonly shape: Shape;
}

/** @returns kept units of every space that loses some */
export function removeByMarginals(
  marginals: Marginals,
  { spec, analyses, keep, sparsity, roundTo, shape }: MarginalRemoval,
): Keep {
  const ranked = analyses.map((analysis) => ({
    space: analysis.space,
    values: rankedValues(analysis, marginals, keep),
    ties: positions(analysis),
  }));
  return removeRanked(ranked, { spec, sparsity, roundTo, shape });
}

/**
 * Values by which a space's units are ranked among all: the module's non-decreasing marginal curve per parameter, and
 * below all others the units that are gone already.
 */
function rankedValues({ space, orders }: SpaceAnalysis, marginals: Marginals, keep: Keep): Float64Array {
  const marginal = marginals.get(space.id)!;
  const kept = keep[space.id];
  const present = new Set(kept ?? marginal.keys());
  const values = new Float64Array(space.units).fill(-1);
  for (const { units } of orders) {
    const remaining = units.filter((unit) => present.has(unit));
    const curve = isotonic(Float64Array.from(remaining, (unit) => marginal[unit]!));
    for (const [position, unit] of remaining.entries())
      values[unit] = curve[position]! / space.unitParameters;
  }
  return values;
}

/** Every unit's place in its module's order, 0..1: pooled stretches of a curve are equal, and the order holds in them. */
function positions({ space, orders }: SpaceAnalysis): Float64Array {
  const result = new Float64Array(space.units);
  for (const { units } of orders) {
    for (const [position, unit] of units.entries()) result[unit] = position / units.length;
  }
  return result;
}
