/** Charts of sensitivity sigma: the standard deviation of a unit's rank, 0 to 1, over the calibration sets. */
import { RANK_BINS, SIGMA_BINS, type SpaceSensitivity } from "../../gprune/sensitivity_summary.ts";
import { largestBy, smallestBy } from "../../tensor/statistics.ts";
import type { Palette } from "../palette.ts";
import type { Picture } from "../picture.ts";
import type { Chart } from "../pictures.ts";
import { countAxis, PLOT_HEIGHT, rampColor, UNIT_NAMES } from "./parts.ts";

/** The fields of a space that the charts show. */
export type SigmaSpace = Pick<
  SpaceSensitivity,
  "layer" | "units" | "meanSigma" | "sigmaByRank" | "sigmaHistogram"
>;

/** A standard deviation inside [0, 1] is at most this. */
const MAX_SIGMA = 0.5;

/**
 * Mean sigma by layer and rank of the units.
 * @param spaces - of one kind
 * @param all - spaces that share the colour scale; `spaces` when absent
 */
export function sigmaMap(
  spaces: readonly SigmaSpace[],
  { palette, all = spaces }: { readonly palette: Palette; readonly all?: readonly SigmaSpace[] },
): Chart {
  const ranks = Array.from({ length: RANK_BINS }, (_, bin) => `${10 * bin}–${10 * (bin + 1)} %`);
  const values = spaces.flatMap(({ layer, sigmaByRank }) =>
    sigmaByRank.flatMap((sigma, bin) => (sigma === null ? [] : [{ layer, rank: ranks[bin]!, sigma }])),
  );
  return {
    height: { step: Math.max(6, Math.min(22, 260 / spaces.length)) },
    data: { values },
    mark: { type: "rect" },
    encoding: {
      x: {
        field: "rank",
        type: "ordinal",
        title: "mean rank, least important left",
        sort: null,
        scale: { domain: ranks },
        axis: { labelAngle: 0, labelOverlap: true, ticks: false, domain: false },
      },
      y: {
        field: "layer",
        type: "ordinal",
        title: "layer",
        axis: { labelOverlap: true, ticks: false, domain: false },
      },
      color: rampColor("sigma", { palette, title: "mean σ", domain: [0, highest(all)] }),
    },
  };
}

/** The largest sigma of a cell, rounded up to a readable number. */
function highest(spaces: readonly SigmaSpace[]): number {
  const max = Math.max(...spaces.flatMap(({ sigmaByRank }) => sigmaByRank.map((sigma) => sigma ?? 0)));
  return Math.max(0.05, Math.ceil(max * 20) / 20);
}

/** Histogram of the units' sigma. @param unit - plural noun for the axis */
export function sigmaHistogram(
  spaces: readonly SigmaSpace[],
  { palette, unit }: { readonly palette: Palette; readonly unit: string },
): Chart {
  const step = MAX_SIGMA / SIGMA_BINS;
  const values = Array.from({ length: SIGMA_BINS }, (_, bin) => ({
    from: bin * step,
    to: (bin + 1) * step,
    units: spaces.reduce((sum, { sigmaHistogram: counts }) => sum + (counts[bin] ?? 0), 0),
  }));
  return {
    height: PLOT_HEIGHT,
    data: { values },
    mark: { type: "bar", color: palette.accent },
    encoding: {
      x: { field: "from", type: "quantitative", title: "σ", bin: "binned", axis: { tickCount: 6 } },
      x2: { field: "to" },
      y: {
        field: "units",
        type: "quantitative",
        title: unit,
        stack: null,
        axis: countAxis(),
      },
    },
  };
}

/**
 * The picture of `gprune sensitivity`: maps of FFN and attention side by side, and a histogram below each.
 * @param spaces - as `summariseSensitivity` gives them
 */
export function sensitivityPicture(
  spaces: readonly SpaceSensitivity[],
  { title }: { readonly title: string },
): Picture {
  const most = largestBy(spaces, ({ meanSigma }) => meanSigma);
  const least = smallestBy(spaces, ({ meanSigma }) => meanSigma);
  const kinds = (["ffn", "kv"] as const)
    .map((kind) => ({ unit: UNIT_NAMES[kind], ofKind: spaces.filter((space) => space.kind === kind) }))
    .filter(({ ofKind }) => ofKind.length > 0);
  return {
    id: "sensitivity",
    title,
    words:
      `Sensitivity of ${spaces.length} spaces: standard deviation over calibration sets of each unit's importance rank. ` +
      `Most sensitive on average: ${most.space} (${most.meanSigma.toFixed(3)}), least: ${least.space} (${least.meanSigma.toFixed(3)}).`,
    caption: "The strongest colour marks the largest shifts between sets.",
    chart: (palette) => ({
      width: undefined,
      autosize: undefined,
      vconcat: [
        kinds.map(({ unit, ofKind }) => ({ title: unit, ...sigmaMap(ofKind, { palette, all: spaces }) })),
        kinds.map(({ unit, ofKind }) => sigmaHistogram(ofKind, { palette, unit })),
      ].map((charts) => ({
        hconcat: charts.map((chart) => ({ width: COLUMN, ...chart })),
        resolve: { scale: { color: "shared" } },
      })),
    }),
  };
}

/** Width of one of several charts side by side. */
const COLUMN = 300;
