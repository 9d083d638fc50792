/** Results of the comparison as a Markdown table and as JSON. */
import { cpus } from "node:os";
import { basename } from "node:path";
import type { Spread } from "../../src/tensor/statistics.ts";
import type { Comparison } from "./compare.ts";

/** Tokens per second. */
export interface Speed {
  readonly prompt: number;
  readonly decode: number;
}

/** Result of one client with one file. */
export interface Row {
  readonly client: string;
  readonly model: string;
  /** Whether the model is made from a fixture; its row goes into the short table. */
  readonly fixture: boolean;
  readonly format: string;
  readonly widths: string;
  /** Reference: our runtime on the same weights, or on the float32 weights before rounding. */
  readonly against: "same weights" | "float32 weights";
  /** Null when there is nothing to compare. */
  readonly comparison: Omit<Comparison, "problems"> | null;
  /** Null when it was not measured. */
  readonly speed: Speed | null;
  /** Bytes on disk; null when nothing was written. */
  readonly bytes: number | null;
  /** Failed checks; the command fails unless all are empty. */
  readonly problems: readonly string[];
  /** Why the row was not measured, if that is no failure. */
  readonly skipped: string | null;
}

/** All results, and the versions of the clients. */
export interface Report {
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}

/** Row of a model that does not exist. */
export function absentRow(model: string): Row {
  return {
    client: "all",
    model: basename(model),
    fixture: false,
    format: "all",
    widths: "",
    against: "same weights",
    comparison: null,
    speed: null,
    bytes: null,
    problems: [],
    skipped: "there is no such model",
  };
}

/** The report as JSON, with the machine it was measured on. */
export function reportJson({ versions, rows }: Report): string {
  return `${JSON.stringify({ versions, machine: machine(), rows }, null, 1)}\n`;
}

/** Processor and number of cores. */
export function machine(): string {
  const cores = cpus();
  return `${cores[0]?.model.trim() ?? "unknown processor"}, ${cores.length} cores`;
}

/** The report as Markdown: a table with a row for every client and file, and a short one for the fixtures. */
export function reportMarkdown({ versions, rows }: Report): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const fixtures = rows.filter(({ fixture }) => fixture);
  const parts = [
    `${programs.join(", ")}; ${machine()}`,
    mainTable(rows.filter(({ fixture }) => !fixture)),
    ...(fixtures.length === 0 ? [] : [fixtureTable(fixtures)]),
    summary(rows),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** `12 hold, 0 fail, 1 skipped`: numbers of rows. */
export function summary(rows: readonly Row[]): string {
  const failed = rows.filter(({ problems }) => problems.length > 0).length;
  const skipped = rows.filter((row) => row.skipped !== null).length;
  return `${rows.length - failed - skipped} hold, ${failed} fail, ${skipped} skipped`;
}

const COLUMNS: Readonly<Record<string, (row: Row) => string>> = {
  client: ({ client }) => client,
  model: ({ model }) => model,
  format: ({ format }) => format,
  widths: ({ widths }) => widths,
  "held against": ({ against, comparison }) => (comparison === null ? "" : against),
  "largest logit difference": ({ comparison }) => comparison?.difference.toExponential(1) ?? "",
  "same first token": ({ comparison }) =>
    comparison === null ? "" : `${(100 * comparison.sameFirst).toFixed(0)} %`,
  "20 greedy tokens": ({ comparison }) =>
    comparison === null ? "" : comparison.sameGreedy ? "identical" : "differ",
  "prompt tokens/s": ({ speed }) => speed?.prompt.toFixed(0) ?? "",
  "decoding tokens/s": ({ speed }) => speed?.decode.toFixed(1) ?? "",
  MB: ({ bytes }) => (bytes === null ? "" : (bytes / 1e6).toFixed(1)),
  verdict,
};

function mainTable(rows: readonly Row[]): string {
  return markdownTable(
    Object.keys(COLUMNS),
    rows.map((row) => Object.values(COLUMNS).map((cell) => cell(row))),
  );
}

/** A row for every fixture, a column for every client and format. */
function fixtureTable(rows: readonly Row[]): string {
  const columnOf = ({ client, format }: Row): string => `${client}, ${format}`;
  const columns = [...new Set(rows.map(columnOf))];
  const nameOf = ({ model, widths }: Row): string => `${model} | ${widths}`;
  const lines = [...new Set(rows.map(nameOf))].map((name) => {
    const ofFixture = rows.filter((row) => nameOf(row) === name);
    return [name, ...columns.map((column) => fixtureCell(ofFixture.find((row) => columnOf(row) === column)))];
  });
  return markdownTable(["fixture | widths", ...columns], lines);
}

function fixtureCell(row: Row | undefined): string {
  if (row === undefined) return "";
  return [row.comparison?.difference.toExponential(1) ?? [], verdict(row)].flat().join(", ");
}

function verdict({ problems, skipped, comparison }: Row): string {
  if (skipped !== null) return `skipped: ${skipped}`;
  if (problems.length > 0) return `FAILS: ${problems.join("; ")}`;
  return comparison === null ? "reference" : "holds";
}

export function markdownTable(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const rule = head.flatMap((title) => title.split(" | ")).map(() => "---");
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(rule), ...lines.map(line)].join("\n");
}

/** `1.23 (1.10 to 1.35)`: the median and the range of repeated measurements. */
export function rangeCell({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}
