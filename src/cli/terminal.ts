/** Text for the terminal: results on stdout, tables, names from files made harmless. Results are never coloured. */

import { plainJson, plainText } from "../base/plain_text.ts";
import type { ProgressEvent } from "../base/progress.ts";
import type { GpruneError } from "../errors.ts";
import { outputFailed } from "../io/files/output_file.ts";

export { plainText, shellWord } from "../base/plain_text.ts";

/** Where text and progress of a command go. */
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

/** Writes to stderr. What cannot be said there is dropped: the result counts, and so does its exit code. */
export function writeErr(text: string): void {
  try {
    process.stderr.write(text);
  } catch {
    // There is no other place to say so.
  }
}

/**
 * What streams report later, where writing did not throw. A reader that has seen enough (`gprune inspect MODEL | head`)
 * is no error: what it no longer wants is dropped.
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

/** Writes a value to stdout as a line of JSON. */
export function printJsonLine(value: unknown): void {
  print(plainJson(value, 0));
}

/** Writes one JSON document to stdout. */
export function printJson(value: unknown): void {
  print(plainJson(value));
}
