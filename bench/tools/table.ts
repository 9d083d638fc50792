/** Results of the tools as Markdown tables. */
import { markdownTable } from "../../scripts/clients/table.ts";
import type { Answer } from "./requests.ts";

/** One measured row. */
export interface Row extends Answer {
  /** Name of a way of a tool. */
  readonly way: string;
  readonly removes: string;
  /** Version or commit of the tool. */
  readonly version: string;
}

/** A model whose fraction removed is further than this from the one asked for shows it. */
const AS_ASKED = 0.005;

/** Perplexities of every way at every fraction; then all rows in full, and all settings tried. */
export function markdown(rows: readonly Row[]): string {
  return [summary(rows), full(rows), settings(rows)].join("\n\n").concat("\n");
}

function summary(rows: readonly Row[]): string {
  const fractions = [...new Set(rows.map(({ fraction }) => fraction))].filter((f) => f > 0).sort();
  const ways = new Map(rows.filter(({ fraction }) => fraction > 0).map((row) => [row.way, row]));
  return markdownTable(
    ["tool", "removes", ...fractions.map((fraction) => percent(fraction, 0))],
    [...ways.values()].map(({ way, removes, version }) => [
      `${way} (${version})`,
      removes,
      ...fractions.map((fraction) => cell(rows.find((row) => row.way === way && row.fraction === fraction))),
    ]),
  );
}

function cell(row: Row | undefined): string {
  if (row === undefined) return "";
  const differs = Math.abs(row.removed - row.fraction) > AS_ASKED;
  return differs
    ? `${row.geometricMean.toFixed(2)} (${percent(row.removed, 1)})`
    : row.geometricMean.toFixed(2);
}

function full(rows: readonly Row[]): string {
  const texts = Object.keys(rows[0]?.ppl ?? {});
  return markdownTable(
    ["tool", "setting", "asked", "removed", ...texts, "geometric mean"],
    rows.map((row) => [
      row.way,
      row.setting,
      percent(row.fraction, 0),
      percent(row.removed, 2),
      ...texts.map((text) => row.ppl[text]!.toFixed(2)),
      row.geometricMean.toFixed(2),
    ]),
  );
}

function settings(rows: readonly Row[]): string {
  return markdownTable(
    ["tool", "asked", "setting", "removed", "perplexity of the first windows"],
    rows.flatMap(({ way, fraction, tried }) =>
      tried.map(({ setting, removed, screened }) => {
        return [way, percent(fraction, 0), setting, percent(removed, 2), screened.toFixed(2)];
      }),
    ),
  );
}

function percent(fraction: number, digits: number): string {
  return `${(100 * fraction).toFixed(digits)} %`;
}
