/** What is in a directory. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, GpruneError } from "../../errors.ts";

/** Entries of one directory that are looked at, the first by name. */
const MAX_ENTRIES = 10_000;

/** Names of the directories in a directory, links to directories included and hidden ones not; sorted. */
export async function directoriesIn(path: string): Promise<readonly string[]> {
  const names = await namesIn(path);
  const kinds = await Promise.all(
    names.map(async (name) => {
      const found = await stat(join(path, name)).catch(() => null);
      return found?.isDirectory() === true && !name.startsWith(".");
    }),
  );
  return names.filter((_, index) => kinds[index]);
}

/** @throws GpruneError NOT_FOUND for a directory whose entries may not be read */
export async function requireReadable(directory: string): Promise<void> {
  await readdir(directory).catch((cause: unknown) => {
    const reason = codeOf(cause) ?? String(cause);
    throw new GpruneError("NOT_FOUND", `${directory}: expected a directory that can be read, got ${reason}`, {
      hint: "Check its permissions.",
      cause,
    });
  });
}

/** Names of what is in a directory, sorted; none where there is no such directory. */
export async function namesIn(path: string): Promise<readonly string[]> {
  return (await readdir(path).catch(() => [])).sort().slice(0, MAX_ENTRIES);
}
