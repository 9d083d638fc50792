/** Directory listings. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { unreadable } from "./file.ts";

/** Entries listed of one directory, the first by name. */
const MAX_ENTRIES = 10_000;

/** Sorted names of the subdirectories, including links to directories, without hidden ones. */
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

/** Checks that a directory can be listed. @throws GpruneError NOT_FOUND or FORBIDDEN when it cannot */
export async function requireReadable(directory: string): Promise<void> {
  await readdir(directory).catch((cause: unknown) => {
    throw unreadable(directory, "a readable directory", cause);
  });
}

/** Sorted names of all entries; none when the directory cannot be read. */
export async function namesIn(path: string): Promise<readonly string[]> {
  return (await readdir(path).catch(() => [])).sort().slice(0, MAX_ENTRIES);
}
