/**
 * Reliability of activation scores, for each module: how well do the scores from the other calibration sets predict the
 * ranking on a held-out set? The verdict follows from it: activation scores, or activation-independent ones.
 *
 * For a held-out set d, with ranks over the whole space and correlations over the module's units only:
 *
 * observed_d = Spearman(sum over e != d of rank a^e, a^d)
 * own_d = SB(Spearman(a^d from half A, a^d from half B))
 * others_d = SB(Spearman(sum over e != d of rank of half A, the same of half B))     SB(r) = 2 r / (1 + |r|)
 * corrected_d = observed_d / max(sqrt(max(0, own_d) max(0, others_d)), 1/2), clipped to [-1, 1]
 * r = mean over d of corrected_d;   with one set r = own_d, all that can be measured
 *
 * d and e run over the sets that have halves only: a single window does not show how noisy its scores are.
 *
 * The division is Spearman's correction for attenuation (1904): it compensates for the noise of small sets, so that r
 * shows whether the sets disagree and not whether they are small. It at most doubles the observed value: where the
 * halves of a set disagree, nothing is known, and noise must not be amplified. SB is the Spearman-Brown formula, which
 * steps the reliability of a half up to that of the whole; |r| makes it odd in r, so it stays in [-1, 1]. Spearman is 0
 * where one side is constant: units that never fire have no ranking.
 *
 * magnitude = mean over the module's units of (rank of g_u in the space + 1/2) / units of the space
 * g_u = mean over d of a_u^d / mean a^d
 *
 * so a module that is its whole space has exactly 1/2. It is the mean of the quantiles, not the quantile of the mean:
 * scores have long tails, and a few strong units would lift any module above the median.
 *
 * Verdict: `fallback` iff both r and magnitude are below their thresholds. A module of fewer than `MIN_UNITS` units has
 * r = null and verdict `activation`, since the order of two units is right by chance half of the time. So does every
 * module if no set has halves.
 *
 * GPrune-LLM (arXiv 2603.13418) judges modules by sensitivity and magnitude; measuring on held-out sets is ours.
 */
import { internalError } from "../errors.ts";
import { averageRanks, clamp, mean, spearman } from "../tensor/statistics.ts";
import type { UnitModules } from "./modules.ts";
import { checkedScores, sortedSets } from "./sensitivity.ts";

/** Scores of a space's units from one calibration set, [units] each. */
export interface SplitScores {
  readonly whole: Float64Array;
  /** From disjoint halves of the set's windows; null for a set of one window. */
  readonly halves: readonly [Float64Array, Float64Array] | null;
}

/** Scores are unreliable below this r, and unreliable scores are replaced below this magnitude. */
export const RELIABILITY_THRESHOLD = 0.5;
export const MAGNITUDE_THRESHOLD = 0.5;

/** Reliability of a module's scores on one held-out set; all -1..1. */
export interface SetReliability {
  readonly set: string;
  /** Spearman's correlation of the other sets' summed ranks with this set's; null if only one set has halves. */
  readonly observed: number | null;
  /** Split-half reliability of this set's scores, stepped up to the whole set. */
  readonly own: number;
  /** The same of the other sets' summed ranks; null if only one set has halves. */
  readonly others: number | null;
  /** `observed` corrected for noise; `own` where that is null. */
  readonly corrected: number;
}

/** Which scores order a module's units: the base metric's, or those of the activation-independent fallback. */
export type Verdict = "activation" | "fallback";

/** Reliability, magnitude and verdict of one module; plain JSON. */
export interface ModuleVerdict {
  readonly module: number;
  /** Reliability, -1..1; null if the module has too few units, or no set has halves. */
  readonly r: number | null;
  /** Reliabilities of the sets that have halves, in the order of their names; empty when r is null. */
  readonly perSet: readonly SetReliability[];
  /** Mean over the sets of `own`; null when r is null. */
  readonly splitHalf: number | null;
  /** Quantile of the module's scores in its space, 0..1. */
  readonly magnitude: number;
  readonly verdict: Verdict;
  /** The verdict in one sentence. */
  readonly reason: string;
}

/** Modules with fewer units are not measured. */
const MIN_UNITS = 3;

/** The correction for attenuation divides by at least this. */
const SMALLEST_RELIABILITY = 0.5;

/**
 * Judges every module of a space.
 * @param sets - scores by set name, at least one set; the order of sets and of halves changes nothing
 */
export function judgeModules(
  { spaceId, assignment, modules }: UnitModules,
  sets: ReadonlyMap<string, SplitScores>,
): readonly ModuleVerdict[] {
  const named = sortedSets(sets);
  if (named.length === 0) throw internalError(`reliability of ${spaceId}: no sets`);
  for (const [set, { whole, halves }] of named) {
    const where = `scores of ${spaceId}, set ${set}`;
    for (const scores of [whole, ...(halves ?? [])])
      checkedScores(scores, { where, units: assignment.length });
  }
  const rankings = rankSets(named);
  const magnitudeRanks = averageRanks(meanNormalised(named));
  const members = modules.map((): number[] => []);
  for (const [u, module] of assignment.entries()) members[module]!.push(u);
  return members.map((units, module) => {
    const magnitude = (sumOver(units, magnitudeRanks) / units.length + 0.5) / assignment.length;
    const measurable = units.length >= MIN_UNITS && rankings.length > 0;
    const perSet = measurable ? measure(rankings, units) : [];
    const r = measurable ? mean(perSet.map(({ corrected }) => corrected)) : null;
    const splitHalf = measurable ? mean(perSet.map(({ own }) => own)) : null;
    const counts = { all: named.length, halved: rankings.length };
    const judgement = judge({ r, magnitude, sets: counts, size: units.length });
    return { module, r, perSet, splitHalf, magnitude, ...judgement };
  });
}

/** Average ranks in the space of one set's scores, [units] each. */
interface SetRanks {
  readonly set: string;
  readonly whole: Float64Array;
  readonly halves: readonly [Float64Array, Float64Array];
}

/** Ranks of the sets that have halves. */
function rankSets(named: readonly (readonly [string, SplitScores])[]): readonly SetRanks[] {
  return named.flatMap(([set, { whole, halves }]): readonly SetRanks[] => {
    if (halves === null) return [];
    return [{ set, whole: averageRanks(whole), halves: [averageRanks(halves[0]), averageRanks(halves[1])] }];
  });
}

/** Reliability of a module's scores on every set, held out in turn. */
function measure(rankings: readonly SetRanks[], units: readonly number[]): readonly SetReliability[] {
  const ofModule = (ranks: Float64Array): Float64Array => Float64Array.from(units, (u) => ranks[u]!);
  const sets = rankings.map(({ set, whole, halves: [a, b] }) => ({
    set,
    whole: ofModule(whole),
    a: ofModule(a),
    b: ofModule(b),
  }));
  const total = {
    whole: sumOf(sets.map(({ whole }) => whole)),
    a: sumOf(sets.map(({ a }) => a)),
    b: sumOf(sets.map(({ b }) => b)),
  };
  return sets.map(({ set, whole, a, b }) => {
    const own = spearmanBrown(spearman(a, b));
    if (sets.length === 1) return { set, observed: null, own, others: null, corrected: own };
    const observed = spearman(difference(total.whole, whole), whole);
    const others = spearmanBrown(spearman(difference(total.a, a), difference(total.b, b)));
    return { set, observed, own, others, corrected: corrected(observed, own, others) };
  });
}

/** Spearman-Brown: reliability of a whole from the correlation of its halves. */
function spearmanBrown(r: number): number {
  return (2 * r) / (1 + Math.abs(r));
}

/** Spearman's correction for attenuation, at most doubling, in [-1, 1]. */
function corrected(observed: number, own: number, others: number): number {
  const reliability = Math.sqrt(Math.max(0, own) * Math.max(0, others));
  return clamp(observed / Math.max(reliability, SMALLEST_RELIABILITY), -1, 1);
}

/** g: scores divided by their mean in the space, averaged over the sets; all-zero scores stay zeros; [units]. */
function meanNormalised(named: readonly (readonly [string, SplitScores])[]): Float64Array {
  const sums = new Float64Array(named[0]![1].whole.length);
  for (const [, { whole }] of named) {
    const scale = mean(whole);
    if (scale === 0) continue;
    for (let u = 0; u < sums.length; u++) sums[u]! += whole[u]! / scale;
  }
  return sums.map((sum) => sum / named.length);
}

interface ModuleEvidence {
  readonly r: number | null;
  readonly magnitude: number;
  /** Number of all sets, and of those that have halves. */
  readonly sets: { readonly all: number; readonly halved: number };
  readonly size: number;
}

function judge({ r, magnitude, sets, size }: ModuleEvidence): {
  readonly verdict: Verdict;
  readonly reason: string;
} {
  if (r === null) {
    return { verdict: "activation", reason: `Activation scores: ${whyNotMeasured(size)}.` };
  }
  const one = sets.all === 1 ? "the set" : "the only set with several windows";
  const by =
    sets.halved === 1
      ? `scores from one half of ${one} predict those of the other half`
      : "scores from the other sets predict those of a held-out set";
  if (r >= RELIABILITY_THRESHOLD) {
    const reason = `Activation scores: ${by} with r = ${r.toFixed(2)}, at least ${RELIABILITY_THRESHOLD}.`;
    return { verdict: "activation", reason };
  }
  const found = `${by} with r = ${r.toFixed(2)}, below ${RELIABILITY_THRESHOLD}`;
  const quantile = `quantile ${magnitude.toFixed(2)}`;
  if (magnitude >= MAGNITUDE_THRESHOLD) {
    const reason = `Activation scores: ${found}, but the units score high (${quantile}, at least ${MAGNITUDE_THRESHOLD}).`;
    return { verdict: "activation", reason };
  }
  const level = `the units score low (${quantile}, below ${MAGNITUDE_THRESHOLD})`;
  return { verdict: "fallback", reason: `Activation-independent scores: ${found}, and ${level}.` };
}

function whyNotMeasured(size: number): string {
  if (size >= MIN_UNITS) return "with one window per set, reliability cannot be measured";
  return `${size === 1 ? "one unit is" : `${size} units are`} too few to measure reliability`;
}

/** Sum of the values of these units. */
function sumOver(units: readonly number[], values: Float64Array): number {
  return units.reduce((sum, u) => sum + values[u]!, 0);
}

/** Elementwise sum. */
function sumOf(arrays: readonly Float64Array[]): Float64Array {
  const sums = new Float64Array(arrays[0]!.length);
  for (const array of arrays) for (let i = 0; i < sums.length; i++) sums[i]! += array[i]!;
  return sums;
}

function difference(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value - b[i]!);
}
