/** Named texts and tasks from the files of a directory. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { TextSet } from "../src/calibrate/text_sets.ts";

/**
 * Files with an extension, named without it, in the order of their code units.
 * @throws Error when the directory has none
 */
export function namedFiles(directory: string, ending: string): TextSet[] {
  const files = readdirSync(directory)
    .filter((file) => file.endsWith(ending))
    .sort();
  if (files.length === 0) throw new Error(`${directory}: expected files *${ending}, got none`);
  return files.map((file) => ({
    name: file.slice(0, -ending.length),
    path: join(directory, file),
    weight: 1,
  }));
}
