/**
 * Places where another file system begins, or a part of one that was bound there: directories that no rename replaces.
 */
import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** The field of a line of mountinfo with the directory; proc(5). */
const MOUNTED_AT = 4;

/**
 * Whether something is mounted at a directory. A volume of the same disk (a bind mount) has the number of its parent's
 * device, and is known by Linux's list alone.
 * @param path - of a directory that exists, links followed
 */
export async function isMountPoint(path: string): Promise<boolean> {
  const [own, parent] = await Promise.all([stat(path), stat(dirname(path))]);
  if (own.dev !== parent.dev) return true;
  const list = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
  return list.split("\n").some((line) => unescaped(line.split(" ")[MOUNTED_AT] ?? "") === path);
}

/** Blanks and backslashes are written as `\040` and the like. */
function unescaped(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
