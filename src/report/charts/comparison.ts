/** Charts of several runs at once. */
import { namesText } from "../../base/lists.ts";
import { largestBy } from "../../tensor/statistics.ts";
import { percent, times } from "../format.ts";
import type { Picture } from "../picture.ts";
import type { Chart } from "../pictures.ts";
import { type NamedRun, referenceOf } from "../references.ts";
import type { ReportData } from "../report_data.ts";
import { sharedTexts } from "../shared_texts.ts";
import { linearScale, logScale } from "./axes.ts";
import { layerLines, seriesMarks } from "./parts.ts";
import { interval, intervalLayers } from "./quality.ts";

export function comparisonPictures(runs: readonly NamedRun[]): readonly Picture[] {
  const neurons = Math.max(1, ...runs.flatMap(({ data }) => data.layers.map(({ ffn }) => ffn.after)));
  return [
    ratioPicture(runs, { which: "heldOut", id: "compare-held-out", title: "Held-out calibration text" }),
    ratioPicture(runs, { which: "texts", id: "compare-texts", title: "Evaluation texts" }),
    tasksPicture(runs),
    layerPicture(runs, {
      id: "compare-sparsity",
      title: "Removed from every layer",
      caption: "Share of a layer's attention and FFN parameters removed.",
      y: { title: "removed", scale: { domain: [0, 1] }, axis: { format: "~%", tickCount: 5 } },
      of: ({ removed }) => removed,
    }),
    layerPicture(runs, {
      id: "compare-ffn",
      title: "FFN neurons of every layer",
      caption: "Neurons kept.",
      y: { title: "neurons", ...linearScale({ min: 0, max: 1.05 * neurons }) },
      of: ({ ffn }) => ffn.after,
    }),
  ].filter((picture) => picture !== null);
}

interface RatioOptions {
  readonly which: "heldOut" | "texts";
  readonly id: string;
  readonly title: string;
}

/** Ratio of the perplexity to the dense model's, or another baseline's, by text and run. */
function ratioPicture(runs: readonly NamedRun[], { which, id, title }: RatioOptions): Picture | null {
  const values = runs.flatMap(({ name, data }) =>
    data[which].map((row) => ({ run: name, text: row.name, ratio: row.ratio })),
  );
  if (values.length === 0) return null;
  const { whose, isDense } = referenceOf(runs, which);
  const { names: shared, others } = sharedTexts(runs, which);
  const worst = largestBy(values, ({ ratio }) => ratio);
  const names = runs.map(({ name }) => name);
  const ends = values.map(({ ratio }) => ratio);
  const span = { min: Math.min(1, ...ends) / 1.04, max: Math.max(1, ...ends) * 1.08 };
  const unlike =
    others === null ? "" : ` The same in all runs: ${shared.length === 0 ? "no text" : namesText(shared)}.`;
  return {
    id,
    title,
    words: `Perplexity as a multiple of ${whose}; the highest is ${times(worst.ratio)}, ${worst.run} on ${worst.text}.`,
    caption: `Perplexity as a multiple of ${whose}, logarithmic; 1 is as good${isDense ? " as dense" : ""}.${unlike}`,
    chart: (palette) => ({
      height: { step: 27 },
      data: { values },
      mark: { type: "point", filled: true, size: 70, opacity: 0.9 },
      encoding: {
        y: rowsOf(
          "text",
          values.map(({ text }) => text),
        ),
        x: {
          field: "ratio",
          type: "quantitative",
          title: isDense ? "times dense" : "times the baseline",
          ...logScale(span),
        },
        ...seriesMarks({ field: "run", names, palette, mark: "point" }),
      },
    }),
  };
}

/** A nominal axis with a row for each name, in order of appearance. */
function rowsOf(field: string, names: readonly string[]): Chart {
  return { field, type: "nominal", title: null, sort: [...new Set(names)], axis: { grid: true } };
}

/** Accuracy of every run on every task. */
function tasksPicture(runs: readonly NamedRun[]): Picture | null {
  const values = runs.flatMap(({ name: run, data }) =>
    (data.evaluation?.tasks ?? []).map((task) => interval(run, task.name, task)),
  );
  if (values.length === 0) return null;
  const names = runs.map(({ name }) => name);
  const best = largestBy(values, ({ value }) => value);
  return {
    id: "compare-tasks",
    title: "Accuracy on tasks",
    words: `acc_norm by task and run; the highest is ${best.value.toFixed(3)}, ${best.model} on ${best.name}.`,
    caption: "acc_norm with one standard error to each side.",
    chart: (palette) => {
      const { color, ...shape } = seriesMarks({ field: "model", names, palette, mark: "point" });
      return {
        height: { step: Math.max(7, 27 / runs.length) },
        data: { values },
        encoding: {
          y: rowsOf(
            "name",
            values.map(({ name }) => name),
          ),
          yOffset: { field: "model", type: "nominal", scale: { domain: names } },
          color,
        },
        layer: intervalLayers(values, shape),
      };
    },
  };
}

interface LayerOptions {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  /** Title, scale and axis. */
  readonly y: Chart;
  readonly of: (layer: ReportData["layers"][number]) => number;
}

function layerPicture(runs: readonly NamedRun[], { id, title, caption, y, of }: LayerOptions): Picture {
  const values = runs.flatMap(({ name, data }) =>
    data.layers.map((layer) => ({ run: name, layer: layer.layer, value: of(layer) })),
  );
  const names = runs.map(({ name }) => name);
  const totals = runs.map(({ name, data }) => `${name} ${percent(data.record.sparsity.achieved)}`);
  return {
    id,
    title,
    words: `By layer, for runs that removed: ${totals.join(", ")}.`,
    caption,
    chart: (palette) =>
      layerLines({
        values,
        y: { field: "value", ...y },
        marks: seriesMarks({ field: "run", names, palette, mark: "line" }),
      }),
  };
}
