/**
 * Behaviour-consistent modules: groups of a space's units that behave alike over the calibration sets. Units are ranked
 * against each other only inside their module. The idea is GPrune-LLM's (arXiv 2603.13418), the construction ours.
 *
 * points (behaviour.ts) -> clusterings for k = 1..maxModules (kmeans.ts) -> K (module_count.ts) -> small modules merged
 *
 * A space is one module, unclustered, when it has fewer than `MIN_UNITS` units (KV spaces), when there is one set, or
 * when no unit changes its rank between sets.
 *
 * Laws: the order of the sets changes nothing. Permuting the units permutes the assignment: everything is computed on
 * units sorted by their ranks, so random draws do not depend on indices (units of equal ranks are interchangeable).
 * Modules are numbered by ascending mean sigma, then mean rank, then smallest unit index, not by the clustering.
 */
import { internalError } from "../errors.ts";
import { randomStream } from "../tensor/random.ts";
import { largestBy, smallestBy } from "../tensor/statistics.ts";
import { type Behaviour, behaviourPoints, SMALLEST_DEVIATION } from "./behaviour.ts";
import { MAX_CENTRES } from "./kmeans.ts";
import { type CountEvidence, chooseModules } from "./module_count.ts";
import type { Sensitivity } from "./sensitivity.ts";

export interface ModuleOptions {
  readonly seed: number;
  /** Largest number of modules in a space, 1..`MAX_CENTRES`. */
  readonly maxModules: number;
}

/** Spaces with fewer units are one module. */
const MIN_UNITS = 64;
/** Modules smaller than this, or than this share of the units, are merged into the nearest. */
const MIN_MODULE_SIZE = 16;
const MIN_MODULE_SHARE = 0.02;

/** Size, sensitivity and mean rank of one module. */
export interface BehaviourModule {
  readonly size: number;
  readonly meanSigma: number;
  /** Smallest and largest sigma. */
  readonly sigmaRange: readonly [number, number];
  readonly meanRank: number;
  /** Smallest and largest mean rank. */
  readonly rankRange: readonly [number, number];
}

/** The modules of one space; plain JSON. */
export interface UnitModules {
  readonly spaceId: string;
  /** Number of each unit's module, [units]. */
  readonly assignment: readonly number[];
  /** Most robust first. */
  readonly modules: readonly BehaviourModule[];
  /** Evidence for k = 1, 2, ... modules; empty where the space was not clustered. */
  readonly evidence: readonly CountEvidence[];
  /** Number of principal components of the rank profiles in use, and the share of the variance along them, 0..1. */
  readonly components: number;
  readonly explained: number;
  /** Why the space has this number of modules, one sentence. */
  readonly reason: string;
}

/** Clusters the units of one space. */
export function behaviourModules(
  spaceId: string,
  sensitivity: Sensitivity,
  { seed, maxModules }: ModuleOptions,
): UnitModules {
  const units = sensitivity.sigma.length;
  if (!(Number.isInteger(maxModules) && maxModules >= 1 && maxModules <= MAX_CENTRES)) {
    throw internalError(`modules: maxModules is ${maxModules}`);
  }
  const reason = undividedReason(sensitivity, maxModules);
  if (reason !== undefined) return oneModule(spaceId, sensitivity, reason);
  const order = canonicalOrder(sensitivity.ranks);
  const ranks = sensitivity.ranks.map((rho) => Float64Array.from(order, (u) => rho[u]!));
  const behaviour = behaviourPoints(ranks);
  const random = randomStream(seed, `modules/${spaceId}`);
  const { k, assignment, evidence } = chooseModules(ranks, { behaviour, maxModules, random });
  const minModuleSize = Math.max(MIN_MODULE_SIZE, Math.ceil(MIN_MODULE_SHARE * units));
  const groups = mergeSmallGroups(groupsOf(assignment, k), behaviour, minModuleSize);
  return {
    spaceId,
    ...numberModules(groups, order, sensitivity),
    evidence,
    components: behaviour.components,
    explained: behaviour.explained,
    reason: countReason(evidence, k, groups.length),
  };
}

/** A space as one module: every unit competes with every other, as without modules. */
function oneModule(spaceId: string, sensitivity: Sensitivity, reason: string): UnitModules {
  const order = canonicalOrder(sensitivity.ranks);
  const group = Array.from(order.keys());
  const result = numberModules([group], order, sensitivity);
  return { spaceId, ...result, evidence: [], components: 0, explained: 1, reason };
}

/** Why a space is not clustered; undefined where it is. */
function undividedReason({ sets, sigma }: Sensitivity, maxModules: number): string | undefined {
  const units = sigma.length;
  if (maxModules === 1) return "One module: the setting allows only one.";
  if (units < MIN_UNITS)
    return `One module: clustering needs at least ${MIN_UNITS} units, the space has ${units}.`;
  if (sets.length < 2)
    return "One module: with a single calibration set, rank changes between sets are unknown.";
  if (sigma.every((value) => value < SMALLEST_DEVIATION))
    return "One module: no unit's rank changes between sets.";
  return undefined;
}

/** Unit indices sorted by their ranks in the first set, then in the second, and so on, then by index, [units]. */
function canonicalOrder(ranks: readonly Float64Array[]): Uint32Array {
  const order = new Uint32Array(ranks[0]!.length);
  for (let u = 0; u < order.length; u++) order[u] = u;
  return order.sort((a, b) => {
    for (const rho of ranks) if (rho[a] !== rho[b]) return rho[a]! - rho[b]!;
    return a - b;
  });
}

/** Positions of the points of each cluster that has any, ascending. */
function groupsOf(assignment: Uint8Array, k: number): readonly (readonly number[])[] {
  const groups = Array.from({ length: k }, (): number[] => []);
  for (let i = 0; i < assignment.length; i++) groups[assignment[i]!]!.push(i);
  return groups.filter((group) => group.length > 0);
}

/** Merges the smallest group into the one with the nearest mean until no group is below the minimum, or one is left. */
function mergeSmallGroups(
  groups: readonly (readonly number[])[],
  behaviour: Behaviour,
  minModuleSize: number,
): readonly (readonly number[])[] {
  const smallest = smallestBy(groups, ({ length }) => length);
  if (groups.length === 1 || smallest.length >= minModuleSize) return groups;
  const others = groups.filter((group) => group !== smallest);
  const centre = centreOf(smallest, behaviour);
  const nearest = smallestBy(others, (group) => squaredDistance(centreOf(group, behaviour), centre));
  const merged = others.map((group) => {
    return group === nearest ? [...group, ...smallest].sort((a, b) => a - b) : group;
  });
  return mergeSmallGroups(merged, behaviour, minModuleSize);
}

function centreOf(group: readonly number[], { points, dimensions }: Behaviour): Float64Array {
  const centre = new Float64Array(dimensions);
  for (const i of group) for (let j = 0; j < dimensions; j++) centre[j]! += points[i * dimensions + j]!;
  return centre.map((sum) => sum / group.length);
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, j) => sum + (value - b[j]!) ** 2, 0);
}

/** Turns groups of positions in `order` into modules of units, numbered as the file header says. */
function numberModules(
  groups: readonly (readonly number[])[],
  order: Uint32Array,
  sensitivity: Sensitivity,
): Pick<UnitModules, "assignment" | "modules"> {
  const described = groups.map((positions) => {
    const units = positions.map((i) => order[i]!);
    return { units, first: units.reduce((a, b) => Math.min(a, b)), module: summarise(units, sensitivity) };
  });
  described.sort(
    (a, b) =>
      a.module.meanSigma - b.module.meanSigma || a.module.meanRank - b.module.meanRank || a.first - b.first,
  );
  const assignment = new Array<number>(order.length).fill(0);
  for (const [number, { units }] of described.entries()) for (const u of units) assignment[u] = number;
  return { assignment, modules: described.map(({ module }) => module) };
}

function summarise(units: readonly number[], { sigma, meanRank }: Sensitivity): BehaviourModule {
  const [meanSigma, sigmaRange] = meanAndRange(units, sigma);
  const [rank, rankRange] = meanAndRange(units, meanRank);
  return { size: units.length, meanSigma, sigmaRange, meanRank: rank, rankRange };
}

function meanAndRange(
  units: readonly number[],
  values: Float64Array,
): readonly [number, readonly [number, number]] {
  let sum = 0;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const u of units) {
    sum += values[u]!;
    low = Math.min(low, values[u]!);
    high = Math.max(high, values[u]!);
  }
  return [sum / units.length, [low, high]];
}

function countReason(evidence: readonly CountEvidence[], k: number, modules: number): string {
  const shares = ({ explained, expected }: CountEvidence): readonly [string, string] => [
    `explain ${Math.round(100 * explained)} % of the variance of the units' ranks`,
    `${Math.round(100 * expected)} % expected if all units behaved alike`,
  ];
  if (k > 1) {
    const [here, alike] = shares(evidence[k - 1]!);
    const joined = modules < k ? ` Small modules were merged: ${modules} remain.` : "";
    return `${k} modules ${here}, compared with ${alike}.${joined}`;
  }
  const best = largestBy(evidence, ({ excess }) => excess);
  if (best.k === 1)
    return "One module: no clustering explains more than expected if all units behaved alike.";
  const [here, alike] = shares(best);
  return `One module: ${best.k} clusters ${here}, hardly more than the ${alike}.`;
}
