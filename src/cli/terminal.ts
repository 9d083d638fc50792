/** Text output: stdout and stderr, tables, and names from files made safe to print. Results are never coloured. */

import { plainJson, plainText } from "../base/plain_text.ts";
import type { ProgressEvent } from "../base/progress.ts";
import type { GpruneError } from "../errors.ts";
import { outputFailed } from "../io/files/output_file.ts";

export { plainText, shellWord } from "../base/plain_text.ts";

/** Destination of a command's text and progress. */
export interface Outlet {
  out(text: string): void;
  err(text: string): void;
  /** Absent where this process draws progress itself. */
  progress?(event: ProgressEvent): void;
  progressEnd?(): void;
}

let outlet: Outlet = { out: writeOut, err: writeErr };

/** Writes to stdout. @throws GpruneError OUTPUT_FAILED for a full disk and the like */
export function writeOut(text: string): void {
  try {
    process.stdout.write(text);
  } catch (cause) {
    throw stdoutFailed(cause);
  }
}

/** Writes to stderr. Errors are ignored: the result and its exit code matter more. */
export function writeErr(text: string): void {
  try {
    process.stderr.write(text);
  } catch {
    // There is no other place to report it.
  }
}

/**
 * Handles errors that streams emit after a write. A reader that closes the pipe (`gprune inspect MODEL | head`) is not
 * an error: the remaining output is dropped.
 */
export function mindStreams(): void {
  process.stderr.on("error", () => {});
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw stdoutFailed(error);
  });
}

function stdoutFailed(cause: unknown): GpruneError {
  return outputFailed("standard output", cause);
}

/** Redirects the output of commands. */
export function setOutlet(other: Outlet): void {
  outlet = other;
}

export function currentOutlet(): Outlet {
  return outlet;
}

/** Rows as aligned columns, their cells made plain: the first column to the left, the others to the right. */
export function table(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(plainText));
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

/** Names and values, one pair to a line, with the values in a column of their own. */
export function pairs(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...rows.map(([name]) => length(name)));
  return rows.map(([name, value]) => `${name}${" ".repeat(width - length(name))}  ${value}`).join("\n");
}

/** Number of code points. */
function length(text = ""): number {
  return [...text].length;
}

/** Prints a line on stdout, with control characters made visible. */
export function print(text: string): void {
  outlet.out(`${plainText(text)}\n`);
}

/** Prints a line on stderr, with control characters made visible. */
export function say(text: string): void {
  outlet.err(`${plainText(text)}\n`);
}

/** Writes a value to stdout as a line of JSON. */
export function printJsonLine(value: unknown): void {
  print(plainJson(value, 0));
}

/** Writes one JSON document to stdout. */
export function printJson(value: unknown): void {
  print(plainJson(value));
}
