/** The file of finished rows, which took hours: never written over by others, and never left half written. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Row } from "./table.ts";

/** What all rows of a file were measured with, besides what each is about. */
export interface Settings {
  /** Name of the file or directory. */
  readonly model: string;
  /** The set that `single` calibrates on. */
  readonly single: string;
  readonly samples: number;
  readonly limit: number;
  readonly taskLimit: number;
  readonly seqLen: number;
}

/**
 * Rows that were kept; none where there is no file.
 * @throws Error for what is no such file, and for one of other settings
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

/** Keeps rows with what they were measured with; the file is complete at any moment. */
export function writeRows(path: string, settings: Settings, rows: readonly Row[]): void {
  const partial = `${path}.tmp`;
  writeFileSync(partial, `${JSON.stringify({ settings, rows }, null, 1)}\n`);
  renameSync(partial, path);
}
