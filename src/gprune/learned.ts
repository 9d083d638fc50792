/**
 * Learned sparsity: how much every module gives up under one global budget.
 *
 * At the optimum of a budgeted allocation every module has the same marginal loss per parameter. In rounds t = 1..R
 * with budget b_t = s * t / R the gradients of the model as it is then pruned (removed units replaced by their mean) give
 *
 *   c_u = sum over sets d of w_d * mean over windows of (d loss / d gate_u)^2, each set normalised to sum 1
 *
 * smoothed over rounds (half old, half new). Inside a module units go in the module's own order, so its marginal curve
 * is c along that order, made non-decreasing; all units are then ranked by curve value per parameter and removed until
 * b_t is met exactly, which is the bisection for one multiplier lambda carried to the last unit.
 *
 * Prior work: FLAP (arXiv 2312.11983) ranks globally by scores; Kwon et al. (arXiv 2204.09656) use the Fisher
 * information of gates; the equal-marginal condition is that of optimal brain damage with a cost per parameter.
 */
import { type GateStats, poolGateStats } from "../calibrate/gate_stats.ts";
import { internalError } from "../errors.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Shape } from "../prune/allocation.ts";
import type { Keep } from "../prune/plan.ts";
import { removeRanked } from "../prune/ranked.ts";
import { isotonic } from "./isotonic.ts";
import type { SpaceAnalysis } from "./units.ts";

/** Marginal loss of every unit by space id, [units]; units that are gone have none. */
export type Marginals = ReadonlyMap<string, Float64Array>;

/** What one round did. */
export interface Round {
  /** Fraction of the prunable parameters removed after it. */
  readonly sparsity: number;
  /** Mean loss of every set before it, nats per token. */
  readonly losses: Readonly<Record<string, number>>;
  /** How much every set counted. */
  readonly weights: Readonly<Record<string, number>>;
}

export interface LearnedRequest {
  readonly spec: ModelSpec;
  readonly analyses: readonly SpaceAnalysis[];
  readonly sparsity: number;
  readonly roundTo: number;
  readonly shape: Shape;
  readonly rounds: number;
  /** Weight of every set by name. */
  readonly weights: ReadonlyMap<string, number>;
  /** Gate statistics by set of the model that keeps these units, on fresh windows. */
  readonly measure: (keep: Keep, round: number) => Promise<ReadonlyMap<string, GateStats>>;
}

/** Weight of the past in the smoothed marginals. */
const MEMORY = 0.5;

/** Runs the rounds. @returns kept units of every space that loses some, and the rounds */
export async function learnAllocation(
  request: LearnedRequest,
): Promise<{ readonly keep: Keep; readonly rounds: readonly Round[] }> {
  const { analyses, spec, roundTo, shape, weights } = request;
  const rounds: Round[] = [];
  let keep: Keep = {};
  let smoothed: Marginals | undefined;
  for (let round = 1; round <= request.rounds; round++) {
    const measured = await request.measure(keep, round);
    const names = [...measured.keys()];
    const shares = names.map((name) => weights.get(name) ?? 1);
    const pooled = poolGateStats([...measured.values()], shares);
    smoothed = smooth(smoothed, marginalsOf(pooled, analyses, keep));
    const sparsity = (request.sparsity * round) / request.rounds;
    const ranked = analyses.map((analysis) => ({
      space: analysis.space,
      values: rankedValues(analysis, smoothed!, keep),
      ties: positions(analysis),
    }));
    keep = removeRanked(ranked, { spec, sparsity, roundTo, shape });
    rounds.push({
      sparsity,
      losses: Object.fromEntries(names.map((name) => [name, meanLoss(measured.get(name)!)])),
      weights: Object.fromEntries(names.map((name, d) => [name, shares[d]!])),
    });
  }
  return { keep, rounds };
}

/** Marginals in the dense model's unit numbers; 0 for units that are gone. */
function marginalsOf(stats: GateStats, analyses: readonly SpaceAnalysis[], keep: Keep): Marginals {
  return new Map(
    analyses.map(({ space }) => {
      const kept = keep[space.id] ?? Array.from({ length: space.units }, (_, unit) => unit);
      const squares = stats.spaces.get(space.id)?.squares;
      if (squares?.length !== kept.length) throw internalError(`gate statistics of ${space.id}`);
      const result = new Float64Array(space.units);
      for (const [position, unit] of kept.entries()) result[unit] = squares[position]!;
      return [space.id, result];
    }),
  );
}

function smooth(past: Marginals | undefined, present: Marginals): Marginals {
  if (past === undefined) return present;
  return new Map(
    Array.from(present, ([id, values]) => {
      const before = past.get(id)!;
      return [id, values.map((value, u) => MEMORY * before[u]! + (1 - MEMORY) * value)];
    }),
  );
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

function meanLoss({ loss, windows }: GateStats): number {
  return loss / windows;
}
