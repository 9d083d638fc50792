/** The file of finished rows, which take hours: rows of other settings are refused, and writing is atomic. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Row } from "./table.ts";

/** Settings that all rows of a file of quality.ts have in common. */
export interface Settings {
  /** Name of the model's file or directory. */
  readonly model: string;
  /** The set that `single` calibrates on. */
  readonly single: string;
  readonly samples: number;
  readonly limit: number;
  readonly taskLimit: number;
  readonly seqLen: number;
}

/**
 * Reads the rows of a file; none if there is no file.
 * @param option - the option that names the file, for messages
 * @throws Error for another kind of file, and for rows of other settings
 */
export function readRows<R = Row>(path: string, settings: object, option = "--tag"): R[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  const kept = parsed<R>(path, text, option);
  if (isDeepStrictEqual(kept.settings, settings)) return kept.rows;
  const [has, wanted] = [kept.settings, settings].map((some) => JSON.stringify(some));
  throw new Error(`${path}: expected rows of ${wanted}, got ${has}; choose another ${option}`);
}

function parsed<R>(
  path: string,
  text: string,
  option: string,
): { readonly settings: unknown; readonly rows: R[] } {
  const bad = (cause?: unknown): Error =>
    new Error(
      `${path}: expected settings and rows, got something else; mend it or choose another ${option}`,
      {
        cause,
      },
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw bad(cause);
  }
  const { settings, rows } = (value ?? {}) as { readonly settings?: unknown; readonly rows?: unknown };
  if (settings === undefined || !Array.isArray(rows)) throw bad();
  return { settings, rows };
}

/** Writes rows with their settings, atomically. */
export function writeRows(path: string, settings: object, rows: readonly object[]): void {
  const partial = `${path}.tmp`;
  writeFileSync(partial, `${JSON.stringify({ settings, rows }, null, 1)}\n`);
  renameSync(partial, path);
}
