/**
 * Outputs that appear complete or not at all. Everything is written beside its destination under a temporary name,
 * flushed to the disk, and then renamed; the directory that holds the name is flushed last, because a rename alone
 * does not survive a power failure. No locks: two runs never share a temporary name, and the second rename fails.
 *
 * A process that is killed outright leaves its temporary, `.<name>.tmp-<random>`, which nothing reads.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { link, lstat, mkdir, open, readdir, realpath, rename, rm, unlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { GpruneError } from "../errors.ts";
import { errnoOf, type OutputFile, outputFailed, writeNewFile } from "./output_file.ts";

/** Characters of the destination's name in a temporary's name: file systems allow 255 bytes, UTF-8 takes up to 3 each. */
const MAX_NAME_PREFIX = 64;

/** Windows flushes only handles opened for writing, and no directories at all. */
const ON_WINDOWS = process.platform === "win32";

/** Something half written. */
interface Temporary {
  readonly path: string;
  /** The directory that is to hold the output. */
  readonly parent: string;
  /** The topmost directory that was made to have a parent; null when there was one. */
  readonly madeFrom: string | null;
}

/** Temporaries of this process that are neither renamed nor removed yet. */
const live = new Set<Temporary>();

/**
 * Writes a directory in one step: `fill` writes into a temporary sibling, which takes the target's name once all
 * its files are on the disk. Missing parent directories are made. Whatever fails, the target stays as it was and
 * nothing else is left behind.
 * @param target - must not exist, or be an empty directory or a link to one
 * @param fill - receives the path of an empty directory
 * @throws GpruneError OUTPUT_EXISTS when there is something at `target`, OUTPUT_FAILED when the file system refuses;
 *   errors of `fill` that are not about writing pass through
 */
export async function writeDirectoryAtomically(
  target: string,
  fill: (temporaryPath: string) => Promise<void>,
): Promise<void> {
  const path = await freeDirectory(target);
  await writeAtomically(path, async (temporaryPath) => {
    await mkdir(temporaryPath);
    await fill(temporaryPath);
    await syncTree(temporaryPath);
  });
}

/**
 * Checks that a directory can be written, before hours of work for it: makes and removes an empty one in the nearest
 * directory that exists.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory, OUTPUT_FAILED when the file system
 *   refuses
 */
export async function requireFreeDirectory(target: string): Promise<void> {
  requireWritable(target, await freeDirectory(target));
}

/**
 * Checks that a new file can be written, before hours of work for it, as `requireFreeDirectory` does.
 * @throws GpruneError OUTPUT_EXISTS when there is something, OUTPUT_FAILED when the file system refuses
 */
export async function requireFreeFile(target: string): Promise<void> {
  requireWritable(target, await freeFile(target));
}

/** @throws GpruneError OUTPUT_FAILED */
function requireWritable(target: string, path: string): void {
  let parent = dirname(path);
  while (!existsSync(parent)) parent = dirname(parent);
  try {
    // Synchronous, so that no interrupt comes between the two.
    rmdirSync(mkdtempSync(join(parent, ".gprune-")));
  } catch (cause) {
    throw outputFailed(target, cause);
  }
}

/**
 * Writes a file in one step where there is none. Missing parent directories are made. Whatever fails, nothing is left
 * behind.
 * @throws GpruneError OUTPUT_EXISTS when there is something at `target`, at the beginning or at the end; OUTPUT_FAILED
 *   when the file system refuses; errors of `fill` pass through
 */
export async function writeNewFileAtomically(
  target: string,
  fill: (file: OutputFile) => Promise<void>,
): Promise<void> {
  const path = await freeFile(target);
  await writeAtomically(path, (temporaryPath) => writeNewFile(temporaryPath, fill), linkTo);
}

/**
 * Writes a file in one step, in place of the one that may be there. Missing parent directories are made.
 * @param content - bytes, or text to be encoded as UTF-8
 * @throws GpruneError OUTPUT_FAILED when the file system refuses
 */
export async function writeFileAtomically(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  await writeAtomically(resolve(path), (temporaryPath) =>
    writeNewFile(temporaryPath, (file) => file.write(bytes)),
  );
}

/** Names of the directories in `path`, none when there is no such directory; half-written ones are left out. */
export async function listDirectories(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((cause: unknown) => {
    if (errnoOf(cause) === "ENOENT") return [];
    throw outputFailed(path, cause);
  });
  return entries.flatMap((entry) => (entry.isDirectory() && !entry.name.startsWith(".") ? [entry.name] : []));
}

/** Removes a directory of ours with all that is in it; nothing happens when there is none. */
export async function removeDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch((cause: unknown) => {
    throw outputFailed(path, cause);
  });
}

/** Removes what this process has half written; synchronous, for handlers of SIGINT and SIGTERM. Never throws. */
export function removeTemporaries(): void {
  for (const temporary of live) remove(temporary);
}

/** `write` makes the temporary; afterwards `publish` gives it the name `path`, and the name is flushed. */
async function writeAtomically(
  path: string,
  write: (temporaryPath: string) => Promise<void>,
  publish: (path: string, temporaryPath: string) => Promise<void> = renameTo,
): Promise<void> {
  const parent = dirname(path);
  const madeFrom = await mkdir(parent, { recursive: true }).catch((cause: unknown) => {
    throw outputFailed(path, cause);
  });
  const name = `.${basename(path).slice(0, MAX_NAME_PREFIX)}.tmp-${randomBytes(6).toString("hex")}`;
  const temporary: Temporary = { path: join(parent, name), parent, madeFrom: madeFrom ?? null };
  live.add(temporary);
  try {
    await write(temporary.path);
    await publish(path, temporary.path);
  } catch (cause) {
    remove(temporary);
    throw errnoOf(cause) === undefined ? cause : outputFailed(path, cause);
  }
  live.delete(temporary);
  await syncParents(temporary).catch((cause: unknown) => {
    throw outputFailed(path, cause);
  });
}

/** @throws GpruneError OUTPUT_EXISTS when a directory with files has appeared at `path` in the meantime */
async function renameTo(path: string, temporaryPath: string): Promise<void> {
  await rename(temporaryPath, path).catch((cause: unknown) => {
    const errno = errnoOf(cause);
    if (errno === "ENOTEMPTY" || errno === "EEXIST") {
      throw outputExists(path, "one that somebody else just wrote");
    }
    throw cause;
  });
}

/**
 * Unlike a rename, a hard link never replaces a file that has appeared in the meantime.
 * @throws GpruneError OUTPUT_EXISTS when one has
 */
async function linkTo(path: string, temporaryPath: string): Promise<void> {
  try {
    await link(temporaryPath, path);
  } catch (cause) {
    if (errnoOf(cause) === "EEXIST") throw fileExists(path);
    // File systems without hard links, FAT for instance.
    return rename(temporaryPath, path);
  }
  await unlink(temporaryPath);
}

/**
 * The real path a directory will have.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory
 */
async function freeDirectory(target: string): Promise<string> {
  const path = resolve(target);
  const stat = await lstat(path).catch((cause: unknown) => {
    if (errnoOf(cause) === "ENOENT") return null;
    throw outputFailed(target, cause);
  });
  if (stat === null) return path;
  try {
    const real = await realpath(path);
    if ((await readdir(real)).length === 0) return real;
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === "ENOENT") throw outputExists(target, "a link to nowhere");
    if (errno === "ENOTDIR") throw outputExists(target, "a file");
    throw outputFailed(target, cause);
  }
  throw outputExists(target, "a directory with files in it");
}

/**
 * The absolute path a file will have.
 * @throws GpruneError OUTPUT_EXISTS when there is something, be it a link to nowhere
 */
async function freeFile(target: string): Promise<string> {
  const path = resolve(target);
  const found = await lstat(path).catch((cause: unknown) => {
    if (errnoOf(cause) === "ENOENT") return null;
    throw outputFailed(target, cause);
  });
  if (found !== null) throw fileExists(target);
  return path;
}

function fileExists(target: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${target}: expected a new file, got a name that is in use`, {
    hint: "Choose another output file, or remove this one.",
  });
}

function outputExists(target: string, found: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${target}: expected a new or empty directory, got ${found}`, {
    hint: "Choose another output directory, or remove this one.",
  });
}

function remove(temporary: Temporary): void {
  live.delete(temporary);
  try {
    // A write that is still under way may put a file into a directory that was just emptied.
    rmSync(temporary.path, { recursive: true, force: true, maxRetries: 4, retryDelay: 25 });
    removeMadeParents(temporary);
  } catch {
    // The error that led here is the one worth reporting.
  }
}

/** From the innermost outwards; a directory that has other files by now ends it with ENOTEMPTY. */
function removeMadeParents({ parent, madeFrom }: Temporary): void {
  if (madeFrom === null) return;
  for (let directory = parent; directory.length >= madeFrom.length; directory = dirname(directory)) {
    rmdirSync(directory);
  }
}

/** Flushes the directory that holds the output, and those that hold the directories made for it. */
async function syncParents({ parent, madeFrom }: Temporary): Promise<void> {
  const topmost = madeFrom === null ? parent : dirname(madeFrom);
  for (let directory = parent; directory.length > topmost.length; directory = dirname(directory)) {
    await syncDirectory(directory);
  }
  await syncDirectory(topmost);
}

/** Flushes all files and directories of a tree; a directory after what it holds. */
async function syncTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncOpened(path, ON_WINDOWS ? "r+" : "r");
  }
  await syncDirectory(directory);
}

async function syncDirectory(path: string): Promise<void> {
  if (!ON_WINDOWS) await syncOpened(path, "r");
}

async function syncOpened(path: string, flags: "r" | "r+"): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
