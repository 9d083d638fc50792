/** The table of `gprune compare`: Markdown, one column for each model. */
import { megabytes } from "../base/byte_size.ts";
import type { ComparedModel } from "../evaluate/compare.ts";
import type { Latency } from "../evaluate/latency.ts";
import { meanPerplexity } from "../evaluate/perplexity.ts";
import type { TaskScore } from "../evaluate/tasks.ts";
import type { Spread } from "../tensor/statistics.ts";
import { neurons, perplexity, rangeOfPresent, whole } from "./format.ts";
import { visible } from "./text.ts";

/** A row of the table: its title, and one cell for each model. */
type Line = readonly [string, readonly string[]];

/** The comparison as a Markdown table; the others are compared with the first model. */
export function comparisonTable(models: readonly ComparedModel[]): string {
  const [first] = models as readonly [ComparedModel];
  const each = (of: (model: ComparedModel) => string): readonly string[] => models.map(of);
  const lines: Line[] = [
    ["parameters", each(({ parameters }) => relative(parameters.total, first.parameters.total))],
    ["prunable", each(({ parameters }) => relative(parameters.prunable, first.parameters.prunable))],
    ["stored", each(({ bytes, dtype }) => `${megabytes(bytes)} (${dtype})`)],
    ["neurons per layer", each(({ widths, experts }) => neurons(widths.ffn, experts))],
    ["KV groups per layer", each(({ widths }) => rangeOfPresent(widths.kv))],
    ...textLines(models),
    ...taskLines(models),
    ...speedLines(models),
  ];
  const rows = [["", ...each(({ model }) => model)], ...lines.map(([name, cells]) => [name, ...cells])];
  const notes = models.flatMap(({ model, incomparable, other_tokens: others }) => [
    ...(incomparable === undefined ? [] : [`${visible(model)} has no divergence: ${visible(incomparable)}.`]),
    ...(others
      ? [`${visible(model)} tokenizes the texts differently, so its perplexities are not comparable.`]
      : []),
  ]);
  return [markdown(rows), ...notes.map((note) => `\n${note}`)].join("\n");
}

function relative(value: number, first: number): string {
  const sign = value > first ? "+" : "";
  return value === first ? whole(value) : `${whole(value)} (${sign}${percent(value / first - 1)})`;
}

/** With an ordinary space, unlike `percent` of format.ts, since the table is plain text. */
function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(1)} %`;
}

function textLines(models: readonly ComparedModel[]): readonly Line[] {
  const names = Object.keys(models[0]!.texts);
  if (names.length === 0) return [];
  const perText = names.map(
    (name): Line => [`perplexity, ${name}`, models.map(({ texts }) => perplexity(texts[name]!.ppl))],
  );
  const means: Line = [
    "perplexity, geometric mean",
    models.map(({ texts }) => perplexity(meanPerplexity(Object.values(texts)))),
  ];
  return [...perText, ...(names.length > 1 ? [means] : []), ...divergenceLines(models, names)];
}

function divergenceLines(models: readonly ComparedModel[], names: readonly string[]): readonly Line[] {
  if (models.every(({ divergence }) => Object.keys(divergence ?? {}).length === 0)) return [];
  const average = (model: ComparedModel, of: "kl" | "agreement" | "loss_difference"): number | null => {
    const all = Object.values(model.divergence ?? {});
    return all.length === 0 ? null : all.reduce((sum, one) => sum + one[of], 0) / all.length;
  };
  const line = (
    title: string,
    of: "kl" | "agreement" | "loss_difference",
    show: (value: number) => string,
  ): Line => {
    const cells = models.map((model) => {
      const value = average(model, of);
      return value === null ? "" : show(value);
    });
    return [names.length > 1 ? `${title}, mean` : title, cells];
  };
  return [
    line("loss difference, nats", "loss_difference", (value) => value.toFixed(4)),
    line("KL from the first, nats", "kl", (value) => value.toFixed(4)),
    line("same top token", "agreement", (value) => percent(value)),
    ["hidden error, last layer", models.map((model) => lastLayerError(model))],
  ];
}

function lastLayerError({ divergence }: ComparedModel): string {
  const errors = Object.values(divergence ?? {}).map(({ layers }) => layers.at(-1)!);
  if (errors.length === 0) return "";
  return (errors.reduce((sum, error) => sum + error, 0) / errors.length).toFixed(4);
}

function taskLines(models: readonly ComparedModel[]): readonly Line[] {
  return Object.keys(models[0]!.tasks).flatMap((name): readonly Line[] => {
    const scores = models.map(({ tasks }) => tasks[name]!);
    return [
      [`${name}, acc`, scores.map((score) => accuracy(score.acc, score.stderr))],
      [`${name}, acc_norm`, scores.map((score) => accuracy(score.acc_norm, score.acc_norm_stderr))],
    ];
  });
}

/** Medians, the range over the rounds in brackets, and the speed as a multiple of the first model's. */
function speedLines(models: readonly ComparedModel[]): readonly Line[] {
  if (models[0]!.speed === undefined) return [];
  const line = (title: string, show: (speed: Latency) => string): Line => [
    title,
    models.map(({ speed }) => (speed === undefined ? "" : show(speed))),
  ];
  const rate = ({ median, min, max }: Spread, over: Spread | undefined): string => {
    const times = over === undefined ? "" : `, ×${over.median.toFixed(2)}`;
    return `${median.toFixed(1)} (${min.toFixed(1)} to ${max.toFixed(1)})${times}`;
  };
  return [
    line("prompt tokens/s", ({ prompt, over_first: over }) => rate(prompt, over?.prompt)),
    line("decoding tokens/s", ({ decoding, over_first: over }) => rate(decoding, over?.decoding)),
    line("first token, ms", ({ first_token: wait }) => rate(inMilliseconds(wait), undefined)),
    line("weights in float32", ({ memory }) => megabytes(memory.weights)),
    line("key/value cache", ({ memory }) => megabytes(memory.cache)),
    line("peak memory", ({ memory: { peak_rss_bytes: peak } }) => (peak === null ? "" : megabytes(peak))),
  ];
}

function inMilliseconds({ median, min, max }: Spread): Spread {
  return { median: 1000 * median, min: 1000 * min, max: 1000 * max };
}

function accuracy(mean: number, error: TaskScore["stderr"]): string {
  return `${mean.toFixed(3)}${error === null ? "" : ` ± ${error.toFixed(3)}`}`;
}

/** A Markdown table with padded columns, the first one aligned left, the others right. */
function markdown(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map((text) => visible(text).replaceAll("|", "\\|")));
  const length = (text: string): number => [...text].length;
  const widths = cells[0]!.map((_, column) => Math.max(3, ...cells.map((row) => length(row[column]!))));
  const line = (row: readonly string[]): string => {
    const padded = row.map((text, column) => {
      const space = " ".repeat(widths[column]! - length(text));
      return column === 0 ? text + space : space + text;
    });
    return `| ${padded.join(" | ")} |`;
  };
  const rule = widths.map((width, column) =>
    column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  return [line(cells[0]!), line(rule), ...cells.slice(1).map(line)].join("\n");
}
