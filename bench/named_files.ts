/** Directories of texts and tasks. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { TextSet } from "../src/calibrate/windows.ts";

/** The files with an ending, by what their names say without it, in the order of their names. */
export function namedFiles(directory: string, ending: string): TextSet[] {
  const files = readdirSync(directory)
    .filter((file) => file.endsWith(ending))
    .sort();
  return files.map((file) => ({
    name: file.slice(0, -ending.length),
    path: join(directory, file),
    weight: 1,
  }));
}
