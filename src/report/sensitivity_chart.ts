/**
 * The picture of `gprune sensitivity`: for FFN and attention a heat map of sigma, layer by rank, and below them how many
 * units have which sigma.
 */
import { RANK_BINS, SIGMA_BINS, type SpaceSensitivity } from "../gprune/sensitivity_summary.ts";
import type { Chart } from "./pictures.ts";

const TITLES = { ffn: "FFN neurons", kv: "KV groups" } as const;
/** Width of a bin of the histogram: sigma is at most 1/2. */
const SIGMA_STEP = 0.5 / SIGMA_BINS;

/** @param spaces - as `summariseSensitivity` gives them */
export function sensitivityChart(
  spaces: readonly SpaceSensitivity[],
  { title }: { readonly title: string },
): Chart {
  const kinds = (["ffn", "kv"] as const).filter((kind) => spaces.some((space) => space.kind === kind));
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    description: describe(spaces),
    title: { text: title, anchor: "start" },
    config: { font: "sans-serif", view: { stroke: null } },
    vconcat: [
      { hconcat: kinds.map((kind) => heatMap(spaces, kind)), resolve: { scale: { color: "shared" } } },
      { hconcat: kinds.map((kind) => sigmaHistogram(spaces, kind)) },
    ],
  };
}

function heatMap(spaces: readonly SpaceSensitivity[], kind: "ffn" | "kv"): Chart {
  const middleOf = (bin: number): number => (bin + 0.5) / RANK_BINS;
  const values = spaces
    .filter((space) => space.kind === kind)
    .flatMap(({ layer, sigmaByRank }) =>
      sigmaByRank.map((sigma, bin) => ({ layer, rank: middleOf(bin), sigma })),
    )
    .filter(({ sigma }) => sigma !== null);
  const layers = new Set(values.map(({ layer }) => layer)).size;
  return {
    title: TITLES[kind],
    data: { values },
    width: 260,
    height: Math.max(60, 9 * layers),
    mark: { type: "rect" },
    encoding: {
      x: {
        field: "rank",
        type: "ordinal",
        title: "mean rank, least important left",
        scale: { domain: Array.from({ length: RANK_BINS }, (_, bin) => middleOf(bin)) },
        axis: { format: ".2f", labelAngle: 0, labelOverlap: true },
      },
      y: { field: "layer", type: "ordinal", title: "layer", axis: { labelOverlap: true } },
      color: {
        field: "sigma",
        type: "quantitative",
        title: "mean sigma",
        scale: { scheme: "viridis", domainMin: 0 },
      },
    },
  };
}

function sigmaHistogram(spaces: readonly SpaceSensitivity[], kind: "ffn" | "kv"): Chart {
  const own = spaces.filter((space) => space.kind === kind);
  const values = Array.from({ length: SIGMA_BINS }, (_, bin) => ({
    from: bin * SIGMA_STEP,
    to: (bin + 1) * SIGMA_STEP,
    units: own.reduce((sum, { sigmaHistogram: counts }) => sum + counts[bin]!, 0),
  }));
  return {
    data: { values },
    width: 260,
    height: 100,
    mark: { type: "bar", color: "#31688e" },
    encoding: {
      x: { field: "from", type: "quantitative", title: "sigma", bin: "binned" },
      x2: { field: "to" },
      y: { field: "units", type: "quantitative", title: "units", axis: { tickCount: 4, format: "~s" } },
    },
  };
}

/** What the picture shows, in words. */
function describe(spaces: readonly SpaceSensitivity[]): string {
  const most = spaces.reduce((a, b) => (b.meanSigma > a.meanSigma ? b : a));
  const least = spaces.reduce((a, b) => (b.meanSigma < a.meanSigma ? b : a));
  return (
    `Sensitivity of ${spaces.length} spaces: standard deviation over calibration sets of each unit's importance rank. ` +
    `Most sensitive on average: ${most.space} (${most.meanSigma.toFixed(3)}), least: ${least.space} (${least.meanSigma.toFixed(3)}).`
  );
}
