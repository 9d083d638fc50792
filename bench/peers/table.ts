/** The summary as Markdown tables. */
import { markdownTable, rangeCell } from "../../scripts/clients/table.ts";
import { type Row, type Target, verdict } from "./summary.ts";

const COLUMNS: Readonly<Record<string, (row: Row) => string>> = {
  job: ({ job }) => job,
  program: ({ side }) => side,
  seconds: ({ seconds }) => rangeCell(seconds, 2),
  "tokens/s": ({ tokens, seconds }) => (tokens / seconds.median).toFixed(0),
  "gprune is so many times as fast": ({ timesSlower }) => (timesSlower ? rangeCell(timesSlower, 2) : ""),
  "peak memory, MB": ({ peakBytes }) => (peakBytes.median / 1e6).toFixed(0),
  "before the clock starts": ({ startBytes }) => (startBytes.median / 1e6).toFixed(0),
  "gprune's results differ by": ({ differences = {} }) =>
    Object.entries(differences)
      .map(([name, { ofTypical, ofItself }]) => {
        return name === "gates"
          ? `${name} ${ofTypical.toExponential(1)} of the root mean square`
          : `${name} ${ofItself.toExponential(1)}`;
      })
      .join(", "),
};

export function rowTable(rows: readonly Row[]): string {
  return markdownTable(
    Object.keys(COLUMNS),
    rows.map((row) => Object.values(COLUMNS).map((of) => of(row))),
  );
}

export function targetTable(targets: readonly Target[]): string {
  return markdownTable(
    ["in one round", "wanted", "median (range)", ""],
    targets.map((target) => [
      target.what,
      `at ${target.at} ${target.wanted}`,
      rangeCell(target.got, 2),
      verdict(target),
    ]),
  );
}
