/** Names that distinguish runs beside each other. */
import { resolve } from "node:path";
import type { RunFiles } from "./report_data.ts";

/**
 * For each run as many of the last parts of its directory as distinguish it from the others, or the name in its record
 * where no directory is known. Names that are equal all the same are numbered.
 */
export function runNames(runs: readonly Pick<RunFiles, "record" | "directory">[]): readonly string[] {
  const paths = runs.map(({ record, directory }) =>
    directory === undefined ? [record.name] : partsOf(resolve(directory)),
  );
  return numbered(paths.map((path) => shortest(path, paths)));
}

function partsOf(path: string): readonly string[] {
  return path.split(/[\\/]/).filter((part) => part !== "");
}

/** The shortest end of a path that no different path has. */
function shortest(path: readonly string[], all: readonly (readonly string[])[]): string {
  const end = (parts: readonly string[], count: number): string => parts.slice(-count).join("/");
  const others = all.filter((other) => other.join("/") !== path.join("/"));
  const counts = path.map((_, index) => index + 1);
  const count = counts.find((some) => others.every((other) => end(other, some) !== end(path, some)));
  return end(path, count ?? path.length);
}

function numbered(names: readonly string[]): readonly string[] {
  return names.map((name, index) => {
    const twins = names.filter((other) => other === name).length;
    const number = names.slice(0, index + 1).filter((other) => other === name).length;
    return twins > 1 ? `${name} (${number})` : name;
  });
}
