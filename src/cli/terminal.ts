/** Text for the terminal: results on stdout, tables, names from files made harmless. Results are never coloured. */
import { plainJson, plainText } from "../plain_text.ts";
import type { ProgressEvent } from "../progress.ts";

export { plainText } from "../plain_text.ts";

/** Where text and progress of a command go. */
export interface Outlet {
  out(text: string): void;
  err(text: string): void;
  /** Absent where this process draws progress itself. */
  progress?(event: ProgressEvent): void;
  progressEnd?(): void;
}

let outlet: Outlet = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
};

/** Sends what commands say somewhere else. */
export function setOutlet(other: Outlet): void {
  outlet = other;
}

export function currentOutlet(): Outlet {
  return outlet;
}

/** Rows as aligned columns: the first column to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, c) => Math.max(...rows.map((row) => length(row[c]))));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, c) => {
        const padding = " ".repeat(widths[c]! - length(cell));
        return c === 0 ? cell + padding : padding + cell;
      })
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

/** Names and what they stand for, one to a line, the latter aligned to the left. */
export function pairs(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...rows.map(([name]) => length(name)));
  return rows.map(([name, value]) => `${name}${" ".repeat(width - length(name))}  ${value}`).join("\n");
}

/** Characters as a reader counts them: code points. */
function length(text = ""): number {
  return [...text].length;
}

/** A line on stdout, whatever the text holds. */
export function print(text: string): void {
  outlet.out(`${plainText(text)}\n`);
}

/** A line on stderr. */
export function say(text: string): void {
  outlet.err(`${plainText(text)}\n`);
}

/** Writes one JSON document to stdout. */
export function printJson(value: unknown): void {
  print(plainJson(value));
}
