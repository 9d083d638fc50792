/** Results of the quality benchmark as Markdown tables: all rows, and the effect of GPrune over all metrics. */
import { markdownTable } from "../../scripts/clients/table.ts";
import { mean } from "../../src/tensor/statistics.ts";

/** Settings that identify a row. */
export interface Key {
  readonly sparsity: number;
  readonly recover: string;
  readonly metric: string;
  readonly variant: string;
  /** The set left out of calibration, on which the row is evaluated; empty without --leave-out. */
  readonly leftOut: string;
}

/** One measured row. */
export interface Row extends Key {
  readonly achieved: number;
  readonly ppl: Readonly<Record<string, number>>;
  readonly geometricMean: number;
  readonly tasks: Readonly<Record<string, { readonly acc: number; readonly acc_norm: number }>>;
  readonly seconds: number;
}

/** GPrune against the metrics alone, both on all sets, at one sparsity with one recovery. */
export interface Contrast {
  readonly sparsity: number;
  readonly recover: string;
  /** Metrics that were measured with and without GPrune. */
  readonly metrics: readonly string[];
  /** Metrics with which GPrune has the lower perplexity. */
  readonly better: readonly string[];
  /** Mean over the metrics of the relative fall of perplexity. */
  readonly fall: number;
  /** Mean over the metrics of the gain in mean accuracy, in percentage points; null without tasks. */
  readonly points: number | null;
  /** Ratio of largest to smallest perplexity over the metrics. */
  readonly spread: { readonly base: number; readonly gprune: number };
}

/** Contrasts for every sparsity and recovery with both kinds of rows, in the order of the rows. */
export function contrasts(rows: readonly Row[]): readonly Contrast[] {
  const ofAllSets = rows.filter(({ leftOut }) => leftOut === "");
  const settings = new Map(ofAllSets.map((row) => [`${row.sparsity} ${row.recover}`, row]));
  return [...settings.values()].flatMap(({ sparsity, recover }) => {
    const at = ofAllSets.filter((row) => row.sparsity === sparsity && row.recover === recover);
    const pairs = at
      .filter(({ variant }) => variant === "base")
      .flatMap((base) => {
        const gprune = at.find(({ variant, metric }) => variant === "gprune" && metric === base.metric);
        return gprune === undefined ? [] : [{ base, gprune }];
      });
    return pairs.length === 0 ? [] : [{ sparsity, recover, ...contrast(pairs) }];
  });
}

function contrast(
  pairs: readonly { readonly base: Row; readonly gprune: Row }[],
): Omit<Contrast, "sparsity" | "recover"> {
  const gains = pairs.flatMap(({ base, gprune }) => {
    const [before, after] = [meanAccuracy(base), meanAccuracy(gprune)];
    return before === null || after === null ? [] : [100 * (after - before)];
  });
  const spread = (side: "base" | "gprune"): number => {
    const perplexities = pairs.map((pair) => pair[side].geometricMean);
    return Math.max(...perplexities) / Math.min(...perplexities);
  };
  const better = pairs.filter(({ base, gprune }) => gprune.geometricMean < base.geometricMean);
  return {
    metrics: pairs.map(({ base }) => base.metric),
    better: better.map(({ base }) => base.metric),
    fall: mean(pairs.map(({ base, gprune }) => 1 - gprune.geometricMean / base.geometricMean)),
    points: gains.length === pairs.length ? mean(gains) : null,
    spread: { base: spread("base"), gprune: spread("gprune") },
  };
}

/** Both tables; the first only if there are contrasts. */
export function markdown(rows: readonly Row[]): string {
  const found = contrasts(rows);
  const parts = found.length === 0 ? [rowTable(rows)] : [contrastTable(found), rowTable(rows)];
  return `${parts.join("\n\n")}\n`;
}

function contrastTable(found: readonly Contrast[]): string {
  const head = [
    "removed",
    "recovery",
    "better",
    "perplexity",
    "accuracy",
    "spread alone",
    "spread with GPrune",
  ];
  const lines = found.map(({ sparsity, recover, metrics, better, fall, points, spread }) => [
    String(sparsity),
    recover,
    `${better.length} of ${metrics.length}`,
    signed(-100 * fall, "%"),
    points === null ? "" : signed(points, "points"),
    spread.base.toFixed(2),
    spread.gprune.toFixed(2),
  ]);
  return markdownTable(head, lines);
}

function rowTable(rows: readonly Row[]): string {
  const textNames = namesIn(rows, ({ ppl }) => ppl);
  const taskNames = namesIn(rows, ({ tasks }) => tasks);
  const hasLeftOut = rows.some(({ leftOut }) => leftOut !== "");
  const head = [
    ...["removed", "recovery", "metric", "variant", ...(hasLeftOut ? ["left out"] : [])],
    ...[...textNames, "geometric mean", ...taskNames, "accuracy", "s"],
  ];
  const lines = rows.map((row) => [
    ...[String(row.sparsity), row.recover, row.metric, row.variant, ...(hasLeftOut ? [row.leftOut] : [])],
    ...textNames.map((name) => row.ppl[name]?.toFixed(2) ?? ""),
    row.geometricMean.toFixed(2),
    ...taskNames.map((name) => row.tasks[name]?.acc_norm.toFixed(3) ?? ""),
    meanAccuracy(row)?.toFixed(4) ?? "",
    String(row.seconds),
  ]);
  return markdownTable(head, lines);
}

function namesIn(rows: readonly Row[], of: (row: Row) => object): readonly string[] {
  return [...new Set(rows.flatMap((row) => Object.keys(of(row))))];
}

/** Mean `acc_norm` of the tasks, 0..1; null when there are none. */
function meanAccuracy({ tasks }: Row): number | null {
  const accuracies = Object.values(tasks).map(({ acc_norm }) => acc_norm);
  return accuracies.length === 0 ? null : mean(accuracies);
}

function signed(value: number, unit: string): string {
  return `${value > 0 ? "+" : ""}${value.toFixed(1)} ${unit}`;
}
