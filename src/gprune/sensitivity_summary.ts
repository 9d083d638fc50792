/**
 * Summary of a model's sensitivity for `gprune sensitivity` and the report: a JSON value with one row for each space,
 * of a size that does not grow with width. A row holds a line of the table (means, quantiles, W), a line of the heat
 * map (mean sigma by bin of mean rank) and a histogram of sigma.
 */
import { internalError } from "../errors.ts";
import type { Space } from "../model/spaces.ts";
import type { SpaceKind } from "../model/weights.ts";
import { mean, quantile } from "../tensor/statistics.ts";
import type { Sensitivity } from "./sensitivity.ts";

/** Bins of the mean rank, 0..1, in the heat map. */
export const RANK_BINS = 10;

/** Bins of sigma, 0..1/2 (a standard deviation inside [0, 1] is at most 1/2), in the histogram. */
export const SIGMA_BINS = 20;

const MAX_SIGMA = 0.5;

/** Summary of the sensitivity of one space's units. */
export interface SpaceSensitivity {
  readonly space: string;
  readonly kind: SpaceKind;
  readonly layer: number;
  readonly units: number;
  readonly kendallW: number;
  readonly meanSigma: number;
  /** Quantiles of sigma over the units. */
  readonly sigmaQuantiles: {
    readonly p10: number;
    readonly p25: number;
    readonly p50: number;
    readonly p75: number;
    readonly p90: number;
    readonly max: number;
  };
  /** Mean sigma of the units in each of `RANK_BINS` equal bins of mean rank, least important first; null: no units. */
  readonly sigmaByRank: readonly (number | null)[];
  /** Units in each of `SIGMA_BINS` equal bins of sigma over 0..1/2. */
  readonly sigmaHistogram: readonly number[];
}

/** Summary of a model's sensitivity; plain JSON. */
export interface SensitivitySummary {
  /** Names of the calibration sets, ascending. */
  readonly sets: readonly string[];
  /** In the order the spaces were given. */
  readonly spaces: readonly SpaceSensitivity[];
}

/**
 * Summarises the sensitivity of every space.
 * @param spaces - each has an entry in `sensitivities` with as many units
 */
export function summariseSensitivity(
  spaces: readonly Space[],
  sensitivities: ReadonlyMap<string, Sensitivity>,
): SensitivitySummary {
  const rows = spaces.map((space) => {
    const sensitivity = sensitivities.get(space.id);
    if (sensitivity?.sigma.length !== space.units) {
      throw internalError(`sensitivity of ${space.id}: expected ${space.units} units`);
    }
    return { sets: sensitivity.sets, row: spaceSensitivity(space, sensitivity) };
  });
  return { sets: rows[0]?.sets ?? [], spaces: rows.map(({ row }) => row) };
}

function spaceSensitivity({ id, kind, layer, units }: Space, sensitivity: Sensitivity): SpaceSensitivity {
  const { sigma, meanRank, kendallW } = sensitivity;
  const sorted = sigma.toSorted();
  const at = (fraction: number): number => quantile(sorted, fraction);
  return {
    space: id,
    kind,
    layer,
    units,
    kendallW,
    meanSigma: mean(sigma),
    sigmaQuantiles: { p10: at(0.1), p25: at(0.25), p50: at(0.5), p75: at(0.75), p90: at(0.9), max: at(1) },
    sigmaByRank: meanByBin(sigma, meanRank),
    sigmaHistogram: histogram(sigma),
  };
}

function meanByBin(sigma: Float64Array, meanRank: Float64Array): readonly (number | null)[] {
  const sums = new Float64Array(RANK_BINS);
  const counts = new Uint32Array(RANK_BINS);
  for (let u = 0; u < sigma.length; u++) {
    const bin = binOf(meanRank[u]!, RANK_BINS);
    sums[bin]! += sigma[u]!;
    counts[bin]!++;
  }
  return Array.from(sums, (sum, bin) => (counts[bin] === 0 ? null : sum / counts[bin]!));
}

function histogram(sigma: Float64Array): readonly number[] {
  const counts = new Array<number>(SIGMA_BINS).fill(0);
  for (let u = 0; u < sigma.length; u++) counts[binOf(sigma[u]! / MAX_SIGMA, SIGMA_BINS)]!++;
  return counts;
}

/** Bin of a fraction 0..1; the last bin holds 1 too. */
function binOf(fraction: number, bins: number): number {
  return Math.min(bins - 1, Math.floor(fraction * bins));
}
