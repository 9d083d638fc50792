/** Charts of several runs at once. */
import type { Facts, Quality } from "../facts.ts";
import { percent, times } from "../format.ts";
import type { Picture } from "../picture.ts";
import type { Chart } from "../pictures.ts";
import { type NamedFacts, referenceOf } from "../references.ts";
import { layerLines, seriesColor } from "./parts.ts";

export function comparisonPictures(runs: readonly NamedFacts[]): readonly Picture[] {
  return [
    ratioPicture(runs, { which: "heldOut", id: "compare-held-out", title: "Held-out calibration text" }),
    ratioPicture(runs, { which: "texts", id: "compare-texts", title: "Evaluation texts" }),
    layerPicture(runs, {
      id: "compare-sparsity",
      title: "Removed from every layer",
      caption: "Share of a layer's attention and FFN parameters that is gone.",
      y: { title: "removed", scale: { domain: [0, 1] }, axis: { format: ".0%", tickCount: 5 } },
      of: ({ removed }) => removed,
    }),
    layerPicture(runs, {
      id: "compare-ffn",
      title: "FFN neurons of every layer",
      caption: "Neurons that stay.",
      y: { title: "neurons", axis: { tickCount: 5 } },
      of: ({ ffn }) => ffn.after,
    }),
  ].filter((picture) => picture !== null);
}

interface RatioOptions {
  readonly which: "heldOut" | "texts";
  readonly id: string;
  readonly title: string;
}

/** How many times higher perplexity is than the dense model's or another baseline's, by text and run. */
function ratioPicture(runs: readonly NamedFacts[], { which, id, title }: RatioOptions): Picture | null {
  const values = runs.flatMap(({ name, facts }) =>
    facts[which].map((row: Quality) => ({ run: name, text: row.name, ratio: row.ratio })),
  );
  if (values.length === 0) return null;
  const { whose, isDense } = referenceOf(runs, which);
  const worst = values.reduce((a, b) => (b.ratio > a.ratio ? b : a));
  const names = runs.map(({ name }) => name);
  const ends = values.map(({ ratio }) => ratio);
  const scale = {
    type: "log",
    domain: [Math.min(1, ...ends) / 1.04, Math.max(...ends) * 1.08],
    nice: false,
  };
  return {
    id,
    title,
    words: `Perplexity as a multiple of ${whose}; the highest is ${times(worst.ratio)}, ${worst.run} on ${worst.text}.`,
    caption: `Perplexity as a multiple of ${whose}, logarithmic; 1 is as good${isDense ? " as dense" : ""}.`,
    chart: (palette) => ({
      height: { step: 27 },
      data: { values },
      mark: { type: "point", filled: true, size: 70, opacity: 0.9 },
      encoding: {
        y: { field: "text", type: "nominal", title: null, axis: { grid: true } },
        x: {
          field: "ratio",
          type: "quantitative",
          title: isDense ? "times dense" : "times the baseline",
          scale,
          axis: { grid: true, tickCount: 5, format: "~g", labelOverlap: true },
        },
        color: seriesColor("run", names, palette),
      },
    }),
  };
}

interface LayerOptions {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  /** Title, scale and axis. */
  readonly y: Chart;
  readonly of: (layer: Facts["layers"][number]) => number;
}

function layerPicture(runs: readonly NamedFacts[], { id, title, caption, y, of }: LayerOptions): Picture {
  const values = runs.flatMap(({ name, facts }) =>
    facts.layers.map((layer) => ({ run: name, layer: layer.layer, value: of(layer) })),
  );
  const names = runs.map(({ name }) => name);
  const totals = runs.map(({ name, facts }) => `${name} ${percent(facts.record.sparsity.achieved)}`);
  return {
    id,
    title,
    words: `By layer, for runs that removed: ${totals.join(", ")}.`,
    caption,
    chart: (palette) =>
      layerLines({ values, y: { field: "value", ...y }, color: seriesColor("run", names, palette) }),
  };
}
