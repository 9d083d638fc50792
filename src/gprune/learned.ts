/**
 * Learned sparsity: how much every module gives up under one global budget.
 *
 * At the optimum of a budgeted allocation every module has the same marginal loss per parameter. In rounds t = 1..R
 * with budget b_t = s * t / R, gate gradients of the model as pruned so far (removed units replaced by their means)
 * give
 *
 *   c_u = sum over sets d of w_d * mean over windows of (d loss / d gate_u)^2, each set normalised to sum 1
 *
 * where every window's squares are first divided by the root of their sum over the model (calibrate/gate_stats.ts). c
 * is averaged over rounds, each with 2^(-16 s / R) times the weight of the next: the more was removed in between, the
 * less a round says about the current model. Where the sets agree that a module's order is wrong (consensus.ts), and a
 * prior that is independent of the loss (prior.ts), count as well; ranking.ts turns all of it into kept units.
 *
 * Prior work: FLAP (arXiv 2312.11983) ranks globally by scores; Kwon et al. (arXiv 2204.09656) use the Fisher
 * information of gates; the equal-marginal condition is that of optimal brain damage with a cost per parameter.
 */

import type { Shape } from "../base/choices.ts";
import { type GateStats, poolGateStats } from "../calibrate/gate_stats.ts";
import { internalError } from "../errors.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { removeRanked } from "../prune/ranked.ts";
import { type RankedSpace, removalQueue } from "../prune/removal.ts";
import type { SpaceAnalysis } from "./analysis.ts";
import { type Consensus, consensusOf } from "./consensus.ts";
import { type Marginals, pooledMarginals, type SetMarginals } from "./marginals.ts";
import type { Prior } from "./prior.ts";
import { rankByMarginals } from "./ranking.ts";
import { sharesOf, weightOf } from "./set_weights.ts";

/** Sparsity, losses and set weights of one round. */
export interface Round {
  /** Fraction of the prunable parameters removed after it. */
  readonly sparsity: number;
  /** Mean loss of every set before it, nats per token. */
  readonly losses: Readonly<Record<string, number>>;
  /** Weight of every set in it. */
  readonly weights: Readonly<Record<string, number>>;
}

/** Options of {@link learnAllocation}. */
export interface LearnedRequest {
  readonly spec: ModelSpec;
  readonly analyses: readonly SpaceAnalysis[];
  readonly sparsity: number;
  readonly roundTo: number;
  readonly shape: Shape;
  readonly rounds: number;
  /** Weight of every set by name. */
  readonly weights: ReadonlyMap<string, number>;
  /** Whether the weights of the sets whose losses increase most are raised in every round. */
  readonly robust: boolean;
  /** The marginals are moved towards it; they stay as they are when absent. */
  readonly prior?: Prior;
  /** Measures the model with only these units on the round's windows, by set. */
  readonly measure: (keep: Keep, round: number) => Promise<ReadonlyMap<string, RoundMeasurement>>;
}

/** Gate statistics of one set, and the dense model's loss on the same windows, nats per token; needed for `robust`. */
export interface RoundMeasurement {
  readonly gates: GateStats;
  readonly denseLoss?: number;
}

/** Removing this fraction of the prunable parameters halves the weight of earlier measurements. */
const HALF_LIFE = 1 / 16;
/** Step of the robust weights, per nat. */
const ROBUST_STEP = 1;
/** Smallest share of the total weight that a set keeps, so that no weight underflows to 0. */
const SMALLEST_SHARE = 1e-100;

/** Result of the rounds. */
export interface Learned {
  /** Kept units of every space that loses some. */
  readonly keep: Keep;
  /** All units of every space by id: removed ones in the order of their removal, then kept ones, least valued first. */
  readonly order: ReadonlyMap<string, readonly number[]>;
  readonly rounds: readonly Round[];
  /** Weight of every set by name in the last round. */
  readonly weights: ReadonlyMap<string, number>;
  /** Alphas of the last round. */
  readonly consensus: Consensus;
}

/** State between two rounds. */
interface Learning extends Omit<Learned, "order"> {
  /** Marginals of every set by name, averaged over the rounds. */
  readonly averaged: ReadonlyMap<string, Marginals>;
  /** Sum of the rounds' weights in the average, the last one's being 1. */
  readonly totalWeight: number;
  /** Value of every unit per parameter, as of the last round. */
  readonly ranked: readonly RankedSpace[];
  /** Removed units by space id, in the order of their removal. */
  readonly removed: ReadonlyMap<string, readonly number[]>;
}

/** Runs the rounds. */
export async function learnAllocation(request: LearnedRequest): Promise<Learned> {
  let learning: Learning = {
    keep: {},
    rounds: [],
    weights: request.weights,
    consensus: new Map(),
    averaged: new Map(),
    totalWeight: 0,
    ranked: [],
    removed: new Map(),
  };
  for (let round = 1; round <= request.rounds; round++) {
    const measured = await request.measure(learning.keep, round);
    learning = afterRound(learning, measured, request);
  }
  const { keep, rounds, weights, consensus } = learning;
  return { keep, order: orderOf(learning), rounds, weights, consensus };
}

/**
 * One round: averages the marginals, ranks the units and removes down to the round's budget.
 * @param measured - measurements of the model that keeps `before.keep`, by set
 */
function afterRound(
  before: Learning,
  measured: ReadonlyMap<string, RoundMeasurement>,
  request: LearnedRequest,
): Learning {
  const { analyses, spec, roundTo, shape, robust, prior } = request;
  const { keep } = before;
  const weights = robust ? robustWeights(before.weights, measured) : before.weights;
  const totalWeight = 2 ** (-request.sparsity / request.rounds / HALF_LIFE) * before.totalWeight + 1;
  const averaged = new Map(
    Array.from(measured, ([name, { gates }]) => {
      // Pooling a single set normalises it.
      const normalised = poolGateStats([gates], [1]);
      const round = { gates: normalised, analyses, keep, share: 1 / totalWeight };
      return [name, averagedWith(before.averaged.get(name), round)];
    }),
  );
  const marginals = weightedMarginals(averaged, weights);
  const pooled = pooledMarginals(marginals);
  const consensus = consensusOf(marginals, { analyses, keep });
  const sparsity = (request.sparsity * (before.rounds.length + 1)) / request.rounds;
  const removal = { spec, analyses, keep, sparsity, roundTo, shape, consensus, ...(prior && { prior }) };
  const ranked = rankByMarginals(pooled, removal);
  const after = removeRanked(ranked, removal);
  const removed = ranked.map((values): readonly [string, readonly number[]] => {
    return [values.space.id, removedInOrder(values, { removed: before.removed, keep, after })];
  });
  const round: Round = {
    sparsity,
    losses: Object.fromEntries(Array.from(measured, ([name, { gates }]) => [name, meanLoss(gates)])),
    weights: Object.fromEntries(Array.from(measured.keys(), (name) => [name, weightOf(weights, name)])),
  };
  return {
    keep: after,
    rounds: [...before.rounds, round],
    weights,
    consensus,
    averaged,
    totalWeight,
    ranked,
    removed: new Map([...before.removed, ...removed]),
  };
}

/** Every set's marginals with its share of the total weight. */
function weightedMarginals(
  marginals: ReadonlyMap<string, Marginals>,
  weights: ReadonlyMap<string, number>,
): readonly SetMarginals[] {
  const shares = sharesOf(weights, marginals.keys());
  return Array.from(marginals, ([name, ofSet]) => ({ weight: shares.get(name)!, marginals: ofSet }));
}

/** All units of every space: removed ones in the order of their removal, then kept ones, least valued first. */
function orderOf({ ranked, removed, keep }: Learning): Learned["order"] {
  return new Map(
    ranked.map((values) => {
      const { id } = values.space;
      return [id, [...removed.get(id)!, ...keptInOrder(values, keep)]];
    }),
  );
}

/** A space's removed units after a round, in the order of their removal. With shape uniform a unit may come back. */
function removedInOrder(
  ranked: RankedSpace,
  round: Pick<Learned, "keep"> & { readonly removed: Learned["order"]; readonly after: Keep },
): readonly number[] {
  const isKept = new Set(keptUnits(round.after, ranked.space));
  const before = round.removed.get(ranked.space.id) ?? [];
  return [...before, ...keptInOrder(ranked, round.keep)].filter((unit) => !isKept.has(unit));
}

/** A space's kept units, least valued first. */
function keptInOrder({ space, values, ties }: RankedSpace, keep: Keep): readonly number[] {
  const present = new Set(keptUnits(keep, space));
  return removalQueue(space, values, { roundTo: 1, ties }).order.filter((unit) => present.has(unit));
}

/**
 * Group distributionally robust weights: every set's weight times exp(step * its loss increase), sum unchanged. Sets
 * whose losses increase most count more in the next removal. Source: Sagawa et al., arXiv 1911.08731, algorithm 1, with
 * the increase over the dense model in place of the loss, since texts differ in how predictable they are.
 */
function robustWeights(
  weights: ReadonlyMap<string, number>,
  measured: ReadonlyMap<string, RoundMeasurement>,
): ReadonlyMap<string, number> {
  const exponents = Array.from(measured, ([name, { gates, denseLoss }]): readonly [string, number] => {
    if (denseLoss === undefined) throw internalError(`no dense loss of ${name}`);
    return [name, ROBUST_STEP * (meanLoss(gates) - denseLoss)];
  });
  // Only their differences matter, and no power of e overflows.
  const largest = Math.max(...exponents.map(([, exponent]) => exponent));
  const raised = exponents.map(([name, exponent]): readonly [string, number] => {
    return [name, weightOf(weights, name) * Math.exp(exponent - largest)];
  });
  const before = raised.reduce((sum, [name]) => sum + weightOf(weights, name), 0);
  const after = raised.reduce((sum, [, weight]) => sum + weight, 0);
  return new Map(
    raised.map(([name, weight]) => [name, Math.max((weight * before) / after, SMALLEST_SHARE * before)]),
  );
}

/** One round's gate statistics, and their weight in the average. */
interface RoundMarginals {
  readonly gates: GateStats;
  readonly analyses: readonly SpaceAnalysis[];
  /** Units of the model that was measured. */
  readonly keep: Keep;
  readonly share: number;
}

/**
 * Average of marginals over rounds, indexed by the dense model's units. The kept units' marginals add up to 1 in every
 * round, so those of removed units are scaled by the growth of the kept units' sum, which keeps them comparable.
 */
function averagedWith(
  past: Marginals | undefined,
  { gates, analyses, keep, share }: RoundMarginals,
): Marginals {
  const averaged = new Map<string, Float64Array>();
  let [before, after] = [0, 0];
  for (const { space } of analyses) {
    const kept = keptUnits(keep, space);
    const squares = gates.spaces.get(space.id)?.squares;
    if (squares?.length !== kept.length) throw internalError(`gate statistics of ${space.id}`);
    const result = past?.get(space.id)?.slice() ?? new Float64Array(space.units);
    for (const [position, unit] of kept.entries()) {
      before += result[unit]!;
      result[unit] = (1 - share) * result[unit]! + share * squares[position]!;
      after += result[unit]!;
    }
    averaged.set(space.id, result);
  }
  const growth = before > 0 ? after / before : 1;
  for (const { space } of analyses) {
    const isKept = new Set(keptUnits(keep, space));
    const values = averaged.get(space.id)!;
    for (const unit of values.keys()) if (!isKept.has(unit)) values[unit]! *= growth;
  }
  return averaged;
}

function meanLoss({ loss, windows }: GateStats): number {
  return loss / windows;
}
