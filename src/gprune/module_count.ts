/**
 * How many behaviour modules a space has: a gap statistic whose reference is "one behaviour".
 *
 * e_k = ln(inertia_1 / inertia_k)                              how much k clusters explain of the units' behaviour
 * excess_k = e_k - mean over B references of e_k^ref           0 for k = 1
 * s_k = sqrt(1 + 1/B) * standard deviation over the references of e_k^ref
 * K = the smallest k with excess_k >= excess_k* - max(2 s_k*, `MIN_EXCESS`), k* the k of the largest excess
 *
 * Tibshirani, Walther and Hastie (Estimating the number of clusters via the gap statistic, 2001) draw the references
 * from a uniform box. Ranks need another reference: even when all units behave alike, mean ranks are spread evenly and
 * the ends of [0, 1] compress sigma, which a box would take for clusters. A reference here is a space whose units are
 * draws from one population, a Gaussian copula with the sets' observed rank correlations (r = 2 sin(pi rho_S / 6) for
 * Spearman's rho_S), in which every set has exactly the observed rank values, ties included. It goes through the same
 * features and the same clustering. So modules do not arise because sets disagree, or agree in pairs, but only because
 * units differ in how they follow the sets, such as robust units and sensitive ones.
 *
 * `MIN_EXCESS` asks for effect size and not for significance: with thousands of units any departure from a Gaussian is
 * significant, and modules are worth their cost only where they explain clearly more.
 */
import { averageRanks, largestBy, mean, populationDeviation, rankCorrelation } from "../tensor/statistics.ts";
import { type Behaviour, behaviourPoints } from "./behaviour.ts";
import { symmetricEigen } from "./eigen.ts";
import { type Clustering, kMeans } from "./kmeans.ts";

/** Clusters must leave at least this share less inertia than on a reference: e^-0.1 is 0.905. */
const MIN_EXCESS = 0.1;

/** B: e_k^ref varies little (about 0.02 with 768 units), so a few are enough. */
const REFERENCES = 5;
/** A reference has no more units than this: what k clusters explain does not depend on their number. */
const MAX_REFERENCE_UNITS = 768;
/** Runs of k-means for each k, on the space and on every reference alike. */
const RESTARTS = 3;
/** Keeps e_k finite when k clusters explain everything. */
const SMALLEST_INERTIA = 1e-6;

/** The evidence for k modules; plain JSON. */
export interface CountEvidence {
  readonly k: number;
  /** 1 - inertia_k / inertia_1 of the space, 0..1. */
  readonly explained: number;
  /** 1 - exp(-mean e_k^ref): the same of the references. */
  readonly expected: number;
  readonly excess: number;
  /** s_k. */
  readonly spread: number;
}

/** The chosen clustering, and the evidence for every k. */
export interface CountChoice {
  readonly k: number;
  readonly assignment: Uint8Array;
  /** For k = 1, 2, ... */
  readonly evidence: readonly CountEvidence[];
}

/**
 * Clusters a space into as many modules as its behaviour warrants.
 * @param ranks - rho by set, [units] each, with units in an order that does not depend on their indices
 */
export function chooseModules(
  ranks: readonly Float64Array[],
  options: { readonly behaviour: Behaviour; readonly maxModules: number; readonly random: () => number },
): CountChoice {
  const { behaviour, maxModules, random } = options;
  const clusterings = clusterAll(behaviour, maxModules, random);
  const drawReference = referenceSampler(ranks);
  const referenceGains = Array.from({ length: REFERENCES }, () =>
    gains(clusterAll(behaviourPoints(drawReference(random)), maxModules, random)),
  );
  const evidence = gains(clusterings).map((gain, index): CountEvidence => {
    const ofReferences = referenceGains.map((values) => values[index]!);
    const average = mean(ofReferences);
    const spread = Math.sqrt(1 + 1 / REFERENCES) * populationDeviation(ofReferences);
    const excess = gain - average;
    return { k: index + 1, explained: -Math.expm1(-gain), expected: -Math.expm1(-average), excess, spread };
  });
  const k = chosenCount(evidence);
  return { k, assignment: clusterings[k - 1]!.assignment, evidence };
}

/** K, by the rule in the file header. */
export function chosenCount(evidence: readonly CountEvidence[]): number {
  const best = largestBy(evidence, ({ excess }) => excess);
  const enough = best.excess - Math.max(2 * best.spread, MIN_EXCESS);
  return evidence.find(({ excess }) => excess >= enough)!.k;
}

function clusterAll(
  { points, dimensions }: Behaviour,
  maxModules: number,
  random: () => number,
): readonly Clustering[] {
  return Array.from({ length: maxModules }, (_, index) =>
    kMeans(points, { dimensions, k: index + 1, restarts: RESTARTS, random }),
  );
}

/** e_k for k = 1, 2, ...; a value below its predecessor (a bad run of k-means) is raised to it. */
function gains(clusterings: readonly Clustering[]): readonly number[] {
  const total = clusterings[0]!.inertia;
  const floor = SMALLEST_INERTIA * total;
  let best = 0;
  return clusterings.map(({ inertia }) => {
    if (total > 0) best = Math.max(best, Math.log(total / Math.max(inertia, floor)));
    return best;
  });
}

/** Draws reference ranks: [units] for each set, at most `MAX_REFERENCE_UNITS` units. */
function referenceSampler(ranks: readonly Float64Array[]): (random: () => number) => readonly Float64Array[] {
  const sets = ranks.length;
  const units = Math.min(ranks[0]!.length, MAX_REFERENCE_UNITS);
  const values = ranks.map((rho) => {
    const sorted = rho.toSorted();
    return Float64Array.from(
      { length: units },
      (_, i) => sorted[Math.floor(((i + 0.5) * rho.length) / units)]!,
    );
  });
  const loadings = copulaLoadings(ranks);
  return (random) => {
    const normal = Float64Array.from({ length: units * sets }, () => standardNormal(random));
    return values.map((ofSet, d) => {
      const draw = new Float64Array(units);
      for (let u = 0; u < units; u++) {
        let sum = 0;
        for (let c = 0; c < sets; c++) sum += loadings[d * sets + c]! * normal[u * sets + c]!;
        draw[u] = sum;
      }
      return averageRanks(draw).map((rank) => ofSet[Math.floor(rank)]!);
    });
  };
}

/** Eigenvalues of a correlation matrix below this are rounding errors. */
const SMALLEST_EIGENVALUE = 1e-12;

/** L with L L^T = the copula's correlations, [D * D]; eigenvalues < 0 (no such copula exists) are taken as 0. */
function copulaLoadings(ranks: readonly Float64Array[]): Float64Array {
  const sets = ranks.length;
  const rankings = ranks.map(averageRanks);
  const correlations = new Float64Array(sets * sets);
  for (let d = 0; d < sets; d++) {
    for (let e = 0; e < sets; e++) {
      const spearman = d === e ? 1 : rankCorrelation(rankings[d]!, rankings[e]!);
      correlations[d * sets + e] = 2 * Math.sin((Math.PI / 6) * spearman);
    }
  }
  const { values, vectors } = symmetricEigen(correlations, sets);
  const loadings = new Float64Array(sets * sets);
  for (const [c, vector] of vectors.entries()) {
    const scale = values[c]! < SMALLEST_EIGENVALUE ? 0 : Math.sqrt(values[c]!);
    for (let d = 0; d < sets; d++) loadings[d * sets + c] = vector[d]! * scale;
  }
  return loadings;
}

/** Box and Muller's transform; 1 - u is never 0. */
function standardNormal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
