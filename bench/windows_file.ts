/** Files with windows of token ids, for programs in any language. */
import { writeFileSync } from "node:fs";

/** Windows of token ids by name of set or text. */
export type NamedWindows = ReadonlyMap<string, readonly Int32Array[]>;

/** Writes an object with a list of windows, lists of token ids, for each name. @returns the path */
export function writeWindows(path: string, sets: NamedWindows): string {
  const lists = Array.from(sets, ([name, windows]) => [name, windows.map((ids) => [...ids])] as const);
  writeFileSync(path, JSON.stringify(Object.fromEntries(lists)));
  return path;
}
