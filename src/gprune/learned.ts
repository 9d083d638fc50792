/**
 * Learned sparsity: how much every module gives up under one global budget.
 *
 * At the optimum of a budgeted allocation every module has the same marginal loss per parameter. In rounds t = 1..R
 * with budget b_t = s * t / R the gradients of the model as it is then pruned (removed units replaced by their mean)
 * give
 *
 *   c_u = sum over sets d of w_d * mean over windows of (d loss / d gate_u)^2, each set normalised to sum 1
 *
 * every window's squares divided by the root of their sum over the model first (calibrate/gate_stats.ts), averaged over
 * rounds, each with 2^(-16 s / R) times the weight of the next: the more has gone in between, the less a round says
 * about the model as it is. What the sets agree on beyond the modules' orders counts too (consensus.ts), and a prior
 * that knows of no loss (prior.ts); ranking.ts makes them kept units.
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
import { type Consensus, consensusOf } from "./consensus.ts";
import { type Marginals, type Opinion, pooledMarginals } from "./marginals.ts";
import type { Prior } from "./prior.ts";
import { rankByMarginals } from "./ranking.ts";
import { weightOf } from "./set_weights.ts";
import type { SpaceAnalysis } from "./units.ts";

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
  /** Whether sets count more the more they suffer. */
  readonly robust: boolean;
  /** What the marginals are moved towards. */
  readonly prior?: Prior;
  /** What the model that keeps these units does on fresh windows, by set. */
  readonly measure: (keep: Keep, round: number) => Promise<ReadonlyMap<string, RoundMeasurement>>;
}

/** Gate statistics of one set, and the dense model's loss on the same windows, nats per token, when it is asked for. */
export interface RoundMeasurement {
  readonly gates: GateStats;
  readonly denseLoss?: number;
}

/** Fraction of the prunable parameters after whose removal what was measured before counts half as much. */
const HALF_LIFE = 1 / 16;
/** Step of the robust weights, per nat. */
const ROBUST_STEP = 1;
/** Largest exponent of a weight; of larger ones only the differences count. */
const LARGEST_EXPONENT = 100;
/** Share of all weights that every set keeps, so that none is lost in rounding. */
const SMALLEST_SHARE = 1e-100;

/** What the rounds led to. */
export interface Learned {
  /** Kept units of every space that loses some. */
  readonly keep: Keep;
  /**
   * All units of every space by id, in the order in which they went, and those that stay in that in which they would
   * go.
   */
  readonly order: ReadonlyMap<string, readonly number[]>;
  readonly rounds: readonly Round[];
  /** Weight of every set by name in the last round. */
  readonly weights: ReadonlyMap<string, number>;
  /** Alphas of the last round. */
  readonly consensus: Consensus;
}

/** What the rounds so far have led to. */
interface Learning extends Omit<Learned, "order"> {
  /** Marginals of every set by name, averaged over the rounds. */
  readonly averaged: ReadonlyMap<string, Marginals>;
  /** How much all rounds count in the average together, the last one counting 1. */
  readonly total: number;
  /** What every unit costs per parameter, as the last round ranked them. */
  readonly ranked: readonly RankedSpace[];
  /** Units that are gone by space id, the one that went first in front. */
  readonly gone: ReadonlyMap<string, readonly number[]>;
}

/** Runs the rounds. */
export async function learnAllocation(request: LearnedRequest): Promise<Learned> {
  let learning: Learning = {
    ...{ keep: {}, rounds: [], weights: request.weights, consensus: new Map() },
    ...{ averaged: new Map(), total: 0, ranked: [], gone: new Map() },
  };
  for (let round = 1; round <= request.rounds; round++) {
    const measured = await request.measure(learning.keep, round);
    learning = afterRound(learning, measured, request);
  }
  const { keep, rounds, weights, consensus } = learning;
  return { keep, order: orderOf(learning), rounds, weights, consensus };
}

/** @param measured - of the model that keeps what the rounds before have left */
function afterRound(
  before: Learning,
  measured: ReadonlyMap<string, RoundMeasurement>,
  request: LearnedRequest,
): Learning {
  const { analyses, spec, roundTo, shape, robust, prior } = request;
  const { keep } = before;
  const weights = robust ? robustWeights(before.weights, measured) : before.weights;
  const total = 2 ** (-request.sparsity / request.rounds / HALF_LIFE) * before.total + 1;
  const averaged = new Map(
    Array.from(measured, ([name, { gates }]) => {
      // Pooled alone, a set is normalised.
      const present = poolGateStats([gates], [1]);
      return [name, averagedWith(before.averaged.get(name), { present, analyses, keep, share: 1 / total })];
    }),
  );
  const opinions = opinionsOf(averaged, weights);
  const pooled = pooledMarginals(opinions);
  const consensus = consensusOf(opinions, { analyses, keep, pooled });
  const sparsity = (request.sparsity * (before.rounds.length + 1)) / request.rounds;
  const removal = { spec, analyses, keep, sparsity, roundTo, shape, consensus, ...(prior && { prior }) };
  const ranked = rankByMarginals(pooled, removal);
  const after = removeRanked(ranked, removal);
  const gone = ranked.map((values): readonly [string, readonly number[]] => {
    return [values.space.id, goneInOrder(values, { gone: before.gone, keep, after })];
  });
  const round: Round = {
    sparsity,
    losses: Object.fromEntries(Array.from(measured, ([name, { gates }]) => [name, meanLoss(gates)])),
    weights: Object.fromEntries(Array.from(measured.keys(), (name) => [name, weightOf(weights, name)])),
  };
  return {
    ...{ keep: after, rounds: [...before.rounds, round], weights, consensus },
    ...{ averaged, total, ranked, gone: new Map([...before.gone, ...gone]) },
  };
}

/** What every set says, and its share of all weights. */
function opinionsOf(
  marginals: ReadonlyMap<string, Marginals>,
  weights: ReadonlyMap<string, number>,
): readonly Opinion[] {
  const sum = [...marginals.keys()].reduce((all, name) => all + weightOf(weights, name), 0);
  return Array.from(marginals, ([name, own]) => ({ share: weightOf(weights, name) / sum, marginals: own }));
}

/** All units of every space: those that are gone, then those that stay, the next to go in front. */
function orderOf({ ranked, gone, keep }: Learning): Learned["order"] {
  return new Map(
    ranked.map((values) => {
      const { id } = values.space;
      return [id, [...gone.get(id)!, ...presentInOrder(values, keep)]];
    }),
  );
}

/**
 * A space's units that a round leaves gone, the first that went first. Where all layers keep as much, a unit may come
 * back.
 */
function goneInOrder(
  ranked: RankedSpace,
  round: Pick<Learned, "keep"> & { readonly gone: Learned["order"]; readonly after: Keep },
): readonly number[] {
  const stays = new Set(keptUnits(round.after, ranked.space));
  const before = round.gone.get(ranked.space.id) ?? [];
  return [...before, ...presentInOrder(ranked, round.keep)].filter((unit) => !stays.has(unit));
}

/** A space's units that are still there, the first to go first. */
function presentInOrder({ space, values, ties }: RankedSpace, keep: Keep): readonly number[] {
  const present = new Set(keptUnits(keep, space));
  return removalQueue(space, values, { roundTo: 1, ties }).order.filter((unit) => present.has(unit));
}

/**
 * Group distributionally robust weights: every set's weight times exp(step * its loss increase), sum unchanged. Sets
 * that suffer most count more in the next decision. Source: Sagawa et al., arXiv 1911.08731, algorithm 1, with the
 * increase over the dense model in place of the loss, since texts differ in what can be predicted at all.
 */
function robustWeights(
  weights: ReadonlyMap<string, number>,
  measured: ReadonlyMap<string, RoundMeasurement>,
): ReadonlyMap<string, number> {
  const exponents = Array.from(measured, ([name, { gates, denseLoss }]): readonly [string, number] => {
    if (denseLoss === undefined) throw internalError(`no dense loss of ${name}`);
    return [name, ROBUST_STEP * (meanLoss(gates) - denseLoss)];
  });
  const most = Math.max(...exponents.map(([, exponent]) => exponent));
  const shift = most - Math.min(Math.max(most, -LARGEST_EXPONENT), LARGEST_EXPONENT);
  const raised = exponents.map(([name, exponent]): readonly [string, number] => {
    return [name, weightOf(weights, name) * Math.exp(exponent - shift)];
  });
  const before = raised.reduce((sum, [name]) => sum + weightOf(weights, name), 0);
  const after = raised.reduce((sum, [, weight]) => sum + weight, 0);
  return new Map(
    raised.map(([name, weight]) => [name, Math.max((weight * before) / after, SMALLEST_SHARE * before)]),
  );
}

/** What a round says, and how much of the average it makes up. */
interface RoundMarginals {
  readonly present: GateStats;
  readonly analyses: readonly SpaceAnalysis[];
  /** Units that the round found there. */
  readonly keep: Keep;
  readonly share: number;
}

/**
 * Marginals in the dense model's unit numbers. Those of units that are gone stay what they were beside those of the
 * units that are there, which add up to 1 in every round: they grow as these do.
 */
function averagedWith(
  past: Marginals | undefined,
  { present, analyses, keep, share }: RoundMarginals,
): Marginals {
  const averaged = new Map<string, Float64Array>();
  let [before, after] = [0, 0];
  for (const { space } of analyses) {
    const kept = keptUnits(keep, space);
    const squares = present.spaces.get(space.id)?.squares;
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
    const there = new Set(keptUnits(keep, space));
    const values = averaged.get(space.id)!;
    for (const unit of values.keys()) if (!there.has(unit)) values[unit]! *= growth;
  }
  return averaged;
}

function meanLoss({ loss, windows }: GateStats): number {
  return loss / windows;
}
