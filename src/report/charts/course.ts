/** Charts of a run's course: learning rounds, training, time. */
import { largestBy } from "../../tensor/statistics.ts";
import { duration, percent } from "../format.ts";
import type { Picture } from "../picture.ts";
import type { ReportData } from "../report_data.ts";
import { linearScale, logScale, spanOf } from "./axes.ts";
import { PLOT_HEIGHT, seriesMarks } from "./parts.ts";

/** Loss of every set before each learning round. */
export function roundsPicture({ grounds: { rounds, roundSets: names } }: ReportData): Picture | null {
  if (rounds.length < 2) return null;
  const values = rounds.flatMap(({ losses }, index) =>
    Object.entries(losses).map(([set, loss]) => ({ set, loss, removed: rounds[index - 1]?.sparsity ?? 0 })),
  );
  const words = names.map((name) => {
    const [first, last] = [rounds[0]!, rounds.at(-1)!].map(({ losses }) => losses[name]);
    return `${name} ${first?.toFixed(2)} to ${last?.toFixed(2)}`;
  });
  return {
    id: "rounds",
    title: "Loss while the budget rises",
    words: `Next-token loss on calibration windows, first to last of ${rounds.length} rounds: ${words.join(", ")}.`,
    caption: "Next-token loss of the model as pruned before each round, on windows of every set.",
    chart: (palette) => ({
      height: PLOT_HEIGHT,
      data: { values },
      mark: { type: "line", point: { size: 30, filled: true }, strokeWidth: 1.75 },
      encoding: {
        x: {
          field: "removed",
          type: "quantitative",
          title: "removed before the round",
          axis: { format: "~%", tickCount: 5 },
        },
        y: {
          field: "loss",
          type: "quantitative",
          title: "loss, nats per token",
          ...linearScale(
            spanOf(
              values.map(({ loss }) => loss),
              0.05,
            ),
          ),
        },
        ...seriesMarks({ field: "set", names, palette, mark: "line" }),
      },
    }),
  };
}

/** Most points of a curve. */
const MAX_STEPS = 300;

/** Divergence from the dense model during distillation. */
export function trainingPicture({ curve }: ReportData): Picture | null {
  // The axis is logarithmic.
  const steps = (curve ?? []).filter(({ divergence }) => divergence > 0);
  if (curve === null || steps.length < 2) return null;
  const stride = Math.ceil(steps.length / MAX_STEPS);
  const values = steps
    .filter((_, index) => index % stride === 0)
    .map(({ step, divergence }) => ({ step, divergence }));
  const [first, last] = [curve[0]!, curve.at(-1)!];
  const divergences = values.map(({ divergence }) => divergence);
  const span = { min: Math.min(...divergences) / 1.1, max: Math.max(...divergences) * 1.1 };
  return {
    id: "training",
    title: "Distillation",
    words: `Divergence from the dense model went from ${first.divergence.toFixed(3)} to ${last.divergence.toFixed(3)} nats per token in ${last.step} steps.`,
    caption: "KL divergence from the dense model on each step's windows, logarithmic.",
    chart: (palette) => ({
      height: PLOT_HEIGHT,
      data: { values },
      mark: { type: "line", strokeWidth: 1.5, color: palette.accent },
      encoding: {
        x: { field: "step", type: "quantitative", title: "step", axis: { tickCount: 6 } },
        y: {
          field: "divergence",
          type: "quantitative",
          title: "KL, nats per token",
          ...logScale(span),
        },
      },
    }),
  };
}

/** Seconds of every stage. */
export function timingsPicture({ record }: ReportData): Picture | null {
  const total = record.timings.reduce((sum, { seconds }) => sum + seconds, 0);
  if (total === 0) return null;
  const values = record.timings.map(({ stage, seconds }) => ({ stage, seconds, label: duration(seconds) }));
  const longest = largestBy(record.timings, ({ seconds }) => seconds);
  return {
    id: "timings",
    title: "Where the time went",
    words: `${duration(total)} until this report was drawn; the longest stage is ${longest.stage} with ${percent(longest.seconds / total, 0)}.`,
    caption:
      "Wall-clock time of each stage until this report was drawn; what is written is flushed to the disk after it.",
    chart: (palette) => ({
      height: { step: 24 },
      data: { values },
      encoding: {
        y: { field: "stage", type: "nominal", title: null, sort: null, axis: { labelLimit: 160 } },
        x: {
          field: "seconds",
          type: "quantitative",
          title: null,
          scale: { domain: [0, 1.15 * longest.seconds], nice: false },
          axis: null,
        },
      },
      layer: [
        { mark: { type: "bar", color: palette.accent, cornerRadiusEnd: 1, height: { band: 0.62 } } },
        {
          mark: { type: "text", align: "left", dx: 6, color: palette.ink },
          encoding: { text: { field: "label", type: "nominal" } },
        },
      ],
    }),
  };
}
