/**
 * Distribution sensitivity: how much the importance rank of a unit moves from one calibration set to another.
 *
 * rho_u^d = (average rank of u in its space by the score a^d) / (n - 1)      in [0, 1]; 1/2 in a space of one unit
 * meanRank_u = mean over d of rho_u^d
 * sigma_u = sqrt(mean over d of (rho_u^d - meanRank_u)^2)                    in [0, 1/2]
 * W = 12 S / (m^2 (n^3 - n) - m sum_d T_d)                                   in [0, 1]; 1: all sets agree
 *
 * where R_u = sum over d of the unscaled ranks, S = sum_u (R_u - mean R)^2, m = number of sets, and T_d = sum over
 * the groups of t equal scores of t^3 - t. Source: Kendall, Rank Correlation Methods (1948), chapter 6; the idea of
 * telling sensitive units from robust ones is GPrune-LLM's (arXiv 2603.13418).
 *
 * Sets are sorted by name, so the order in which they are given changes nothing.
 * Not here: the summary for people (sensitivity_summary.ts), the grouping of units (modules.ts).
 */
import { GpruneError, internalError } from "../errors.ts";
import { averageRanks, mean, populationDeviation } from "../tensor/statistics.ts";

/** Scores of the units of one space by set name, each [units]. */
export type SetScores = ReadonlyMap<string, Float64Array>;

/** Sensitivity of the units of one space. */
export interface Sensitivity {
  /** Set names, ascending. */
  readonly sets: readonly string[];
  /** rho, one array for each set in the order of `sets`, [units] each. */
  readonly ranks: readonly Float64Array[];
  /** Mean of rho over the sets, [units]. */
  readonly meanRank: Float64Array;
  /** Standard deviation of rho over the sets (divisor: the number of sets), [units]. */
  readonly sigma: Float64Array;
  /** Kendall's coefficient of concordance. */
  readonly kendallW: number;
}

/**
 * Sensitivity of the units of one space.
 * @throws GpruneError NOT_FINITE naming the set with a NaN or an infinity
 */
export function unitSensitivity(scores: SetScores): Sensitivity {
  const named = sortedSets(scores);
  const units = named[0]?.[1].length ?? 0;
  if (units === 0) throw internalError("sensitivity of no sets or no units");
  const rankings = named.map(([set, values]) =>
    averageRanks(checkedScores(values, { where: `scores of set ${set}`, units })),
  );
  const scale = units === 1 ? () => 0.5 : (rank: number): number => rank / (units - 1);
  const ranks = rankings.map((ranking) => ranking.map(scale));
  const meanRank = new Float64Array(units);
  const sigma = new Float64Array(units);
  for (let u = 0; u < units; u++) {
    const unitRanks = ranks.map((rho) => rho[u]!);
    meanRank[u] = mean(unitRanks);
    sigma[u] = populationDeviation(unitRanks);
  }
  return { sets: named.map(([set]) => set), ranks, meanRank, sigma, kendallW: kendallW(rankings) };
}

/**
 * Kendall's W with the correction for ties, in exact arithmetic up to one division (ranks are multiples of 1/2).
 *
 * It is 1 for a single ranking, for a single unit, and when every ranking ties all units. A ranking that ties all units
 * beside one that does not counts as disagreement, by the formula.
 * @param rankings - average ranks, one array of [units] for each set
 */
export function kendallW(rankings: readonly Float64Array[]): number {
  const m = rankings.length;
  const n = rankings[0]?.length ?? 0;
  const meanSum = (m * (n - 1)) / 2;
  let deviations = 0;
  for (let u = 0; u < n; u++) {
    let sum = 0;
    for (const ranks of rankings) sum += ranks[u]!;
    deviations += (sum - meanSum) ** 2;
  }
  const ties = rankings.reduce((total, ranks) => total + tieTerm(ranks), 0);
  const largest = m * m * (n ** 3 - n) - m * ties;
  return largest === 0 ? 1 : (12 * deviations) / largest;
}

/** T = sum over groups of t equal ranks of t^3 - t. */
function tieTerm(ranks: Float64Array): number {
  const sorted = ranks.toSorted();
  let total = 0;
  for (let first = 0; first < sorted.length; ) {
    let end = first + 1;
    while (end < sorted.length && sorted[end] === sorted[first]) end++;
    total += (end - first) ** 3 - (end - first);
    first = end;
  }
  return total;
}

/** Entries in ascending order of the names' code units, the same in every locale. */
export function sortedSets<T>(sets: ReadonlyMap<string, T>): readonly (readonly [string, T])[] {
  return [...sets].sort(([a], [b]) => (a < b ? -1 : 1));
}

/**
 * Returns `scores` after checking that there is a finite one for each unit.
 * @throws GpruneError NOT_FINITE with `where` and the unit of a NaN or an infinity
 */
export function checkedScores(
  scores: Float64Array,
  { where, units }: { readonly where: string; readonly units: number },
): Float64Array {
  if (scores.length !== units) throw internalError(`${where}: expected ${units} units, got ${scores.length}`);
  const bad = scores.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return scores;
  throw new GpruneError("NOT_FINITE", `${where}: expected finite numbers, got ${scores[bad]} at unit ${bad}`);
}
