/** Making what was written survive a power failure: flushed files, and flushed directories for the names in them. */
import { rmdirSync } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { failPoint } from "./fail_points.ts";

/** Windows flushes only handles opened for writing, and no directories at all. */
const ON_WINDOWS = process.platform === "win32";

/** Flushes all files and directories of a tree; a directory after what it holds. */
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
 * Flushes the directory that holds an output, and those that hold the directories made for it.
 * @param madeFrom - the topmost directory that was made to have `parent`; null when there was one
 */
export async function syncMade(parent: string, madeFrom: string | null): Promise<void> {
  const topmost = madeFrom === null ? parent : dirname(madeFrom);
  for (let directory = parent; directory.length > topmost.length; directory = dirname(directory)) {
    await syncDirectory(directory);
  }
  await syncDirectory(topmost);
}

/**
 * Removes the directories that were made to have `parent`, from the innermost outwards; throws ENOTEMPTY at one that
 * has other files by now. Synchronous, for handlers of signals.
 */
export function removeMade(parent: string, madeFrom: string | null): void {
  if (madeFrom === null) return;
  for (let directory = parent; directory.length >= madeFrom.length; directory = dirname(directory)) {
    rmdirSync(directory);
  }
}
