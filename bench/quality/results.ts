/** The file of finished rows, which take hours: rows of other settings are refused, and writing is atomic. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Row } from "./table.ts";

/** Settings that all rows of a file have in common. */
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
 * @throws Error for another kind of file, and for rows of other settings
 */
export function readRows(path: string, settings: Settings): Row[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  const kept = parsed(path, text);
  if (isDeepStrictEqual(kept.settings, settings)) return kept.rows;
  const [has, wanted] = [kept.settings, settings].map((some) => JSON.stringify(some));
  throw new Error(`${path}: expected rows of ${wanted}, got ${has}; choose another --tag`);
}

function parsed(path: string, text: string): { readonly settings: unknown; readonly rows: Row[] } {
  const bad = (cause?: unknown): Error =>
    new Error(`${path}: expected settings and rows, got something else; mend it or choose another --tag`, {
      cause,
    });
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
export function writeRows(path: string, settings: Settings, rows: readonly Row[]): void {
  const partial = `${path}.tmp`;
  writeFileSync(partial, `${JSON.stringify({ settings, rows }, null, 1)}\n`);
  renameSync(partial, path);
}
