/**
 * The behaviour of units over calibration sets as points that can be clustered.
 *
 * p_u = (rho_u^1 - meanRank_u, ..., rho_u^D - meanRank_u) / sqrt(D)   the centred rank profile; its length is sigma_u
 *
 * A point is (mean rank, sigma, coordinates of p_u along the leading principal components of all p), three blocks. A
 * block is divided by its root total variance over the units and multiplied by the root of its weight, so its total
 * variance is its weight: see `BLOCK_WEIGHTS`. A block that does not vary is 0. Blocks are not centred, since distances
 * do not depend on it. The ranks of a set average 1/2, so the p average 0 and their second moments are their
 * covariance.
 *
 * Leading components are used until they explain `EXPLAINED_VARIANCE` of the profiles' variance, at most min(D - 1, 3):
 * profiles lie in the D - 1 dimensions orthogonal to (1, ..., 1), and k-means finds nothing in many noisy dimensions.
 */
import { symmetricEigen } from "./eigen.ts";

/**
 * Variance of each block. Sigma (how much a unit's rank moves) and the profile (on which sets) count alike. The mean
 * rank counts a quarter: it says which units matter, not how they behave, and modules that merely slice a space by
 * importance would keep weak units from competing with strong ones.
 */
export const BLOCK_WEIGHTS = { meanRank: 0.25, sigma: 1, profile: 1 } as const;

/** Share of the profiles' variance at which no further component is added. */
const EXPLAINED_VARIANCE = 0.8;
const MAX_COMPONENTS = 3;

/** Standard deviations of ranks below this are rounding errors. */
export const SMALLEST_DEVIATION = 1e-9;

/** Feature points of one space's units. */
export interface Behaviour {
  /** Row-major, [units * dimensions]. */
  readonly points: Float64Array;
  /** 2 + components. */
  readonly dimensions: number;
  readonly components: number;
  /** Share of the profiles' variance along the components, 0..1; 1 when profiles do not vary. */
  readonly explained: number;
}

/**
 * The feature points of one space's units.
 * @param ranks - rho, one array of [units] for each of D >= 1 sets
 */
export function behaviourPoints(ranks: readonly Float64Array[]): Behaviour {
  const units = ranks[0]!.length;
  const profiles = centredProfiles(ranks);
  const { axes, explained } = leadingComponents(profiles, ranks.length);
  const dimensions = 2 + axes.length;
  const points = new Float64Array(units * dimensions);
  const sets = ranks.length;
  for (let u = 0; u < units; u++) {
    let sum = 0;
    for (const rho of ranks) sum += rho[u]!;
    points[u * dimensions] = sum / sets;
    let squares = 0;
    for (let d = 0; d < sets; d++) squares += profiles[u * sets + d]! ** 2;
    points[u * dimensions + 1] = Math.sqrt(squares);
    for (const [c, axis] of axes.entries()) {
      let coordinate = 0;
      for (let d = 0; d < sets; d++) coordinate += profiles[u * sets + d]! * axis[d]!;
      points[u * dimensions + 2 + c] = coordinate;
    }
  }
  scaleBlock(points, { dimensions, from: 0, to: 1, weight: BLOCK_WEIGHTS.meanRank });
  scaleBlock(points, { dimensions, from: 1, to: 2, weight: BLOCK_WEIGHTS.sigma });
  scaleBlock(points, { dimensions, from: 2, to: dimensions, weight: BLOCK_WEIGHTS.profile });
  return { points, dimensions, components: axes.length, explained };
}

/** p, [units * D]. */
function centredProfiles(ranks: readonly Float64Array[]): Float64Array {
  const sets = ranks.length;
  const units = ranks[0]!.length;
  const profiles = new Float64Array(units * sets);
  const scale = 1 / Math.sqrt(sets);
  for (let u = 0; u < units; u++) {
    let sum = 0;
    for (const rho of ranks) sum += rho[u]!;
    const centre = sum / sets;
    for (let d = 0; d < sets; d++) profiles[u * sets + d] = (ranks[d]![u]! - centre) * scale;
  }
  return profiles;
}

/** Unit vectors [D] of the leading principal components, and the share of the variance along them. */
function leadingComponents(
  profiles: Float64Array,
  sets: number,
): { readonly axes: readonly Float64Array[]; readonly explained: number } {
  const moments = new Float64Array(sets * sets);
  for (let at = 0; at < profiles.length; at += sets) {
    for (let d = 0; d < sets; d++) {
      for (let e = 0; e <= d; e++) moments[d * sets + e]! += profiles[at + d]! * profiles[at + e]!;
    }
  }
  for (let d = 0; d < sets; d++) for (let e = 0; e < d; e++) moments[e * sets + d] = moments[d * sets + e]!;
  const { values, vectors } = symmetricEigen(moments, sets);
  const total = values.reduce((sum, value) => sum + Math.max(0, value), 0);
  if (total * sets <= profiles.length * SMALLEST_DEVIATION ** 2) return { axes: [], explained: 1 };
  const maxComponents = Math.min(sets - 1, MAX_COMPONENTS);
  let explained = 0;
  let components = 0;
  while (components < maxComponents && explained < EXPLAINED_VARIANCE)
    explained += values[components++]! / total;
  return { axes: vectors.slice(0, components), explained: Math.min(1, explained) };
}

/** Scales columns `from` to `to` - 1 so that their variances over the rows add up to `weight`. */
function scaleBlock(
  points: Float64Array,
  block: { readonly dimensions: number; readonly from: number; readonly to: number; readonly weight: number },
): void {
  const { dimensions, from, to, weight } = block;
  const rows = points.length / dimensions;
  let variance = 0;
  for (let column = from; column < to; column++) {
    let sum = 0;
    for (let at = column; at < points.length; at += dimensions) sum += points[at]!;
    const centre = sum / rows;
    for (let at = column; at < points.length; at += dimensions)
      variance += (points[at]! - centre) ** 2 / rows;
  }
  const deviation = Math.sqrt(variance);
  const factor = deviation < SMALLEST_DEVIATION ? 0 : Math.sqrt(weight) / deviation;
  for (let column = from; column < to; column++) {
    for (let at = column; at < points.length; at += dimensions) points[at]! *= factor;
  }
}
