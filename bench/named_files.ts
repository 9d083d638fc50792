/** Named texts and tasks from the files of a directory. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { TextSet } from "../src/calibrate/text_sets.ts";

/** Files with an extension, named without it, in alphabetical order. */
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
