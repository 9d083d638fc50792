/** Results of the tools as Markdown tables. */
import { markdownTable } from "../../scripts/clients/table.ts";
import type { Answer } from "./requests.ts";

/** Perplexity of a model for the summary. */
export interface Result {
  /** Name of a way of a tool. */
  readonly way: string;
  readonly removes: string;
  /** Version or commit of the tool; empty where the name has it. */
  readonly version: string;
  /** Fraction of attention and FFN parameters asked for, and removed. */
  readonly fraction: number;
  readonly removed: number;
  readonly geometricMean: number;
}

/** One measured row. */
export interface Row extends Result, Answer {}

/** A model whose fraction removed is further than this from the one asked for shows it. */
const AS_ASKED = 0.005;

/**
 * Perplexities of every way at every fraction; then all rows in full, and all settings tried.
 * @param others - results from elsewhere for the first table
 */
export function markdown(rows: readonly Row[], others: readonly Result[]): string {
  return [summary([...rows, ...others]), full(rows), settings(rows)].join("\n\n").concat("\n");
}

function summary(results: readonly Result[]): string {
  const pruned = results.filter(({ fraction }) => fraction > 0);
  const fractions = [...new Set(pruned.map(({ fraction }) => fraction))].sort((a, b) => a - b);
  const ways = new Map(pruned.map((result) => [result.way, result]));
  return markdownTable(
    ["tool", "removes", ...fractions.map((fraction) => percent(fraction, 0))],
    [...ways.values()].map(({ way, removes, version }) => [
      version === "" ? way : `${way} (${version})`,
      removes,
      ...fractions.map((at) => cell(pruned.find((result) => result.way === way && result.fraction === at))),
    ]),
  );
}

function cell(result: Result | undefined): string {
  if (result === undefined) return "";
  const { removed, fraction, geometricMean } = result;
  const differs = Math.abs(removed - fraction) > AS_ASKED;
  return differs ? `${geometricMean.toFixed(2)} (${percent(removed, 1)})` : geometricMean.toFixed(2);
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
        return [way, percent(fraction, 0), setting, percent(removed, 2), screened?.toFixed(2) ?? ""];
      }),
    ),
  );
}

function percent(fraction: number, digits: number): string {
  return `${(100 * fraction).toFixed(digits)} %`;
}
