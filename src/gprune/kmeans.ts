/**
 * k-means with k-means++ seeding and Lloyd's iterations, restarted a few times; the best run is kept.
 *
 * inertia = sum over points of the squared distance to the nearest centre
 *
 * Deterministic: chance comes from the stream given, and equal distances go to the centre with the smaller number.
 * Depends on the order of the points (it draws by index), so callers bring points into an order of their own
 * (modules.ts does). Source: Arthur and Vassilvitskii, k-means++: the advantages of careful seeding (SODA 2007).
 */

export interface KMeansOptions {
  readonly dimensions: number;
  /** Number of centres, 1..255. */
  readonly k: number;
  readonly restarts: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export interface Clustering {
  /** Centre of each point, [points]. A centre may end without points, as when fewer than k points differ. */
  readonly assignment: Uint8Array;
  readonly inertia: number;
}

/** Iterations end when no point moves, when the inertia falls by less than this share, or after so many. */
const MIN_IMPROVEMENT = 1e-4;
const MAX_ITERATIONS = 40;

/** @param points - row-major, [n * dimensions], n >= 1 */
export function kMeans(points: Float64Array, options: KMeansOptions): Clustering {
  let best: Clustering | undefined;
  const runs = options.k === 1 ? 1 : options.restarts;
  for (let run = 0; run < runs; run++) {
    const clustering = lloyd(points, seedCentres(points, options), options);
    if (best === undefined || clustering.inertia < best.inertia) best = clustering;
  }
  return best!;
}

/** Draws each next centre from the points, by their squared distance to the nearest centre so far. */
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

/** The index at which the running sum of the weights passes `target`; the last weight that is not 0 by default. */
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
  const assignment = new Uint8Array(points.length / dimensions).fill(255);
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

interface State {
  readonly centres: Float64Array;
  readonly assignment: Uint8Array;
  readonly dimensions: number;
  readonly k: number;
}

/** Puts each point with its nearest centre. */
function assign(
  points: Float64Array,
  { centres, assignment, dimensions, k }: State,
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

/** Puts each centre at the mean of its points; one without points stays. */
function moveCentres(points: Float64Array, { centres, assignment, dimensions, k }: State): void {
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
