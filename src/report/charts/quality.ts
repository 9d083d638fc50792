/** Charts of the pruned model's quality beside the dense model's. */

import { perplexity, times } from "../format.ts";
import type { Palette } from "../palette.ts";
import type { Picture } from "../picture.ts";
import type { Chart } from "../pictures.ts";
import { baselineLabel, baselineWords, meanQuality, type Quality, type ReportData } from "../report_data.ts";
import type { SavedAccuracy } from "../saved_evaluation.ts";
import { linearScale, logScale, type Span, spanOf } from "./axes.ts";
import { layerLines, seriesMarks } from "./parts.ts";

interface QualityOptions {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  /** Label of the baseline; `dense` when absent. */
  readonly from?: string;
}

/** Perplexity before and after pruning, one row for each text, in the given order. */
export function perplexityPicture(
  rows: readonly Quality[],
  { id, title, caption, from = "dense" }: QualityOptions,
): Picture {
  const mean = meanQuality(rows);
  // The label stands beside the right one of the two dots.
  const values = rows.map((row) => ({
    ...row,
    right: Math.max(row.dense, row.pruned),
    label: times(row.ratio),
  }));
  const ends = rows.flatMap(({ dense, pruned }) => [dense, pruned]);
  const span = { min: Math.min(...ends) / 1.12, max: Math.max(...ends) * 1.35 };
  const words = rows.map((row) => `${row.name} ${perplexity(row.dense)} to ${perplexity(row.pruned)}`);
  return {
    id,
    title,
    words: `Perplexity from ${from} to pruned: ${words.join(", ")}; geometric mean ${perplexity(mean.dense)} to ${perplexity(mean.pruned)}.`,
    caption,
    chart: (palette) => ({
      height: { step: 27 },
      data: { values },
      encoding: {
        y: { field: "name", type: "nominal", title: null, sort: values.map(({ name }) => name) },
      },
      layer: [
        {
          mark: { type: "rule", strokeWidth: 2.5, color: palette.gone },
          encoding: { x: perplexityAxis("dense", span), x2: { field: "pruned" } },
        },
        dots("dense", { palette, span, from }),
        dots("pruned", { palette, span, from }),
        {
          mark: { type: "text", align: "left", dx: 10, color: palette.ink },
          encoding: { x: perplexityAxis("right", span), text: { field: "label", type: "nominal" } },
        },
      ],
    }),
  };
}

function perplexityAxis(field: string, span: Span): Chart {
  return { field, type: "quantitative", title: "perplexity, logarithmic", ...logScale(span) };
}

function dots(
  field: "dense" | "pruned",
  { palette, span, from }: { readonly palette: Palette; readonly span: Span; readonly from: string },
): Chart {
  return {
    mark: { type: "point", filled: true, size: 70, opacity: 1 },
    encoding: {
      x: perplexityAxis(field, span),
      color: {
        datum: field === "dense" ? from : field,
        type: "nominal",
        title: null,
        scale: { domain: [from, "pruned"], range: [palette.muted, palette.loss] },
      },
    },
  };
}

/** Accuracy of both models on every task, with standard errors. */
export function tasksPicture(data: ReportData): Picture | null {
  const tasks = data.evaluation?.tasks ?? [];
  const from = baselineLabel(data);
  if (tasks.length === 0) return null;
  const values = tasks.flatMap(({ baseline, ...own }) => [
    ...(baseline === null ? [] : [interval(from, own.name, baseline)]),
    interval("pruned", own.name, own),
  ]);
  const words = tasks.map(({ name, acc_norm, baseline }) => {
    const from = baseline === null ? "" : `${baseline.acc_norm.toFixed(3)} to `;
    return `${name} ${from}${acc_norm.toFixed(3)}`;
  });
  return {
    id: "tasks",
    title: "Accuracy on tasks",
    words: `acc_norm: ${words.join(", ")}.`,
    caption: "acc_norm with one standard error to each side.",
    chart: (palette) => ({
      height: { step: 27 },
      data: { values },
      encoding: {
        y: { field: "name", type: "nominal", title: null, sort: tasks.map(({ name }) => name) },
        yOffset: { field: "model", type: "nominal", scale: { domain: [from, "pruned"] } },
        color: {
          field: "model",
          type: "nominal",
          title: null,
          scale: { domain: [from, "pruned"], range: [palette.muted, palette.loss] },
        },
      },
      layer: intervalLayers(values),
    }),
  };
}

/** A value plus and minus one standard error. */
export interface Interval {
  readonly name: string;
  readonly model: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** A model's acc_norm on a task, plus and minus one standard error. */
export function interval(
  model: string,
  name: string,
  { acc_norm: value, acc_norm_stderr: error }: SavedAccuracy,
): Interval {
  return { name, model, value, low: value - (error ?? 0), high: value + (error ?? 0) };
}

/** A rule and a point for each interval. @param shape - encodings of the points only */
export function intervalLayers(values: readonly Interval[], shape: Chart = {}): readonly Chart[] {
  const axis = { type: "quantitative", title: "acc_norm", ...linearScale(accuracySpan(values)) };
  return [
    {
      mark: { type: "rule", strokeWidth: 1.5 },
      encoding: { x: { field: "low", ...axis }, x2: { field: "high" } },
    },
    {
      mark: { type: "point", filled: true, size: 60, opacity: 1 },
      encoding: { x: { field: "value", ...axis }, ...shape },
    },
  ];
}

/** The span of all intervals with padding, but not far beyond 0 and 1. */
function accuracySpan(values: readonly Interval[]): Span {
  const lowest = Math.min(...values.map(({ low }) => low));
  const { min, max } = spanOf(
    values.flatMap(({ low, high }) => [low, high]),
    0.08,
  );
  return { min: Math.max(min, Math.min(lowest, -0.01)), max: Math.min(max, 1.05) };
}

/** Relative distance of the hidden states from the baseline's, layer by layer. */
export function layerErrorPicture(data: ReportData): Picture | null {
  const texts = (data.evaluation?.texts ?? []).filter(({ divergence }) => divergence !== null);
  if (texts.length === 0) return null;
  const values = texts.flatMap(({ name, divergence }) =>
    divergence!.layers.map((error, layer) => ({ name, layer, error })),
  );
  const last = texts.map(({ name, divergence }) => `${name} ${divergence!.layers.at(-1)!.toFixed(2)}`);
  const names = texts.map(({ name }) => name);
  const highest = Math.max(...values.map(({ error }) => error));
  return {
    id: "layer-error",
    title: "Distance of the hidden states",
    words: `Relative error after the last layer: ${last.join(", ")}.`,
    caption: `Mean over tokens of |h − h₀| / |h₀| after every layer; h₀ is ${baselineWords(data)}'s.`,
    chart: (palette) =>
      layerLines({
        values,
        y: { field: "error", title: "relative error", ...linearScale({ min: 0, max: highest * 1.05 || 1 }) },
        marks: seriesMarks({ field: "name", names, palette, mark: "line" }),
      }),
  };
}
