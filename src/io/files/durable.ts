/** Durability across power failures: flushes files, and the directories that hold their names. */
import { rmdirSync } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { failPoint } from "./fail_points.ts";

/** Windows flushes only handles opened for writing, and no directories at all. */
const ON_WINDOWS = process.platform === "win32";

/** Flushes all files and directories of a tree, every directory after its entries. */
export async function syncTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncOpened(path, ON_WINDOWS ? "r+" : "r");
  }
  await syncDirectory(directory);
}

/** Flushes the names in a directory. */
async function syncDirectory(path: string): Promise<void> {
  if (!ON_WINDOWS) await syncOpened(path, "r");
}

async function syncOpened(path: string, flags: "r" | "r+"): Promise<void> {
  failPoint("before-fsync", path);
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Flushes the directory that holds an output, and every directory that holds one created for it.
 * @param madeFrom - the topmost directory that was created to have `parent`; null when `parent` existed
 */
export async function syncMade(parent: string, madeFrom: string | null): Promise<void> {
  const topmost = madeFrom === null ? parent : dirname(madeFrom);
  for (let directory = parent; directory.length > topmost.length; directory = dirname(directory)) {
    await syncDirectory(directory);
  }
  await syncDirectory(topmost);
}

/**
 * Removes the directories that were created to have `parent`, innermost first; throws ENOTEMPTY at one that has gained
 * other files. Synchronous, for signal handlers.
 */
export function removeMade(parent: string, madeFrom: string | null): void {
  if (madeFrom === null) return;
  for (let directory = parent; directory.length >= madeFrom.length; directory = dirname(directory)) {
    rmdirSync(directory);
  }
}
