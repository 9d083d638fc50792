/**
 * k-means with k-means++ seeding and Lloyd's iterations, restarted a few times; the best run is kept.
 *
 * inertia = sum over points of the squared distance to the nearest centre
 *
 * Deterministic for a given random stream; ties in distance go to the centre with the smaller number. The result
 * depends on the order of the points (draws are by index), so modules.ts sorts them first.
 * Source: Arthur and Vassilvitskii, k-means++: the advantages of careful seeding (SODA 2007).
 */

/** Largest number of centres: an assignment holds their numbers, and 255 where there is none yet. */
export const MAX_CENTRES = 255;

export interface KMeansOptions {
  readonly dimensions: number;
  /** Number of centres, 1..`MAX_CENTRES`. */
  readonly k: number;
  readonly restarts: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export interface Clustering {
  /** Centre of each point, [points]. A centre may have no points, for instance when fewer than k points differ. */
  readonly assignment: Uint8Array;
  readonly inertia: number;
}

/**
 * Iterations end when no point changes its centre, when inertia falls by less than this share, or after the maximum.
 */
const MIN_IMPROVEMENT = 1e-4;
const MAX_ITERATIONS = 40;

/**
 * The clustering of smallest inertia among `restarts` runs.
 * @param points - row-major, [n * dimensions], n >= 1
 */
export function kMeans(points: Float64Array, options: KMeansOptions): Clustering {
  let best: Clustering | undefined;
  const runs = options.k === 1 ? 1 : options.restarts;
  for (let run = 0; run < runs; run++) {
    const clustering = lloyd(points, seedCentres(points, options), options);
    if (best === undefined || clustering.inertia < best.inertia) best = clustering;
  }
  return best!;
}

/** k-means++: draws each next centre from the points with weights D^2, D the distance to the nearest centre so far. */
function seedCentres(points: Float64Array, { dimensions, k, random }: KMeansOptions): Float64Array {
  const n = points.length / dimensions;
  const centres = new Float64Array(k * dimensions);
  const nearest = new Float64Array(n).fill(Number.POSITIVE_INFINITY);
  let chosen = Math.floor(random() * n);
  for (let c = 0; c < k; c++) {
    const centre = points.subarray(chosen * dimensions, (chosen + 1) * dimensions);
    centres.set(centre, c * dimensions);
    let total = 0;
    for (let i = 0; i < n; i++) {
      let distance = 0;
      for (let j = 0; j < dimensions; j++) distance += (points[i * dimensions + j]! - centre[j]!) ** 2;
      if (distance < nearest[i]!) nearest[i] = distance;
      total += nearest[i]!;
    }
    chosen = drawIndex(nearest, random() * total);
  }
  return centres;
}

/** The index at which the running sum of the weights passes `target`, or else of the last weight that is not 0. */
function drawIndex(weights: Float64Array, target: number): number {
  let running = 0;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    running += weights[i]!;
    last = i;
    if (running > target) break;
  }
  return last;
}

function lloyd(points: Float64Array, centres: Float64Array, { dimensions, k }: KMeansOptions): Clustering {
  const assignment = new Uint8Array(points.length / dimensions).fill(MAX_CENTRES);
  let inertia = Number.POSITIVE_INFINITY;
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const { moved, inertia: next } = assign(points, { centres, assignment, dimensions, k });
    const improved = inertia - next > MIN_IMPROVEMENT * inertia || inertia === Number.POSITIVE_INFINITY;
    inertia = next;
    if (!moved || !improved) break;
    moveCentres(points, { centres, assignment, dimensions, k });
  }
  return { assignment, inertia };
}

/** Updated in place. */
interface LloydState {
  readonly centres: Float64Array;
  readonly assignment: Uint8Array;
  readonly dimensions: number;
  readonly k: number;
}

/** Assigns each point to its nearest centre. */
function assign(
  points: Float64Array,
  { centres, assignment, dimensions, k }: LloydState,
): { readonly moved: boolean; readonly inertia: number } {
  let inertia = 0;
  let moved = false;
  for (let i = 0, at = 0; i < assignment.length; i++, at += dimensions) {
    let nearest = 0;
    let smallest = Number.POSITIVE_INFINITY;
    for (let c = 0, from = 0; c < k; c++, from += dimensions) {
      let distance = 0;
      for (let j = 0; j < dimensions; j++) {
        const difference = points[at + j]! - centres[from + j]!;
        distance += difference * difference;
      }
      if (distance < smallest) {
        smallest = distance;
        nearest = c;
      }
    }
    if (assignment[i] !== nearest) moved = true;
    assignment[i] = nearest;
    inertia += smallest;
  }
  return { moved, inertia };
}

/** Moves each centre to the mean of its points; a centre without points stays. */
function moveCentres(points: Float64Array, { centres, assignment, dimensions, k }: LloydState): void {
  const sums = new Float64Array(k * dimensions);
  const counts = new Uint32Array(k);
  for (let i = 0, at = 0; i < assignment.length; i++, at += dimensions) {
    const c = assignment[i]!;
    counts[c]!++;
    for (let j = 0; j < dimensions; j++) sums[c * dimensions + j]! += points[at + j]!;
  }
  for (let c = 0; c < k; c++) {
    if (counts[c] === 0) continue;
    for (let j = 0; j < dimensions; j++) {
      centres[c * dimensions + j] = sums[c * dimensions + j]! / counts[c]!;
    }
  }
}
