/**
 * Outputs that appear complete or not at all. Everything is written beside its destination under a temporary name,
 * flushed to the disk, and then renamed; the parent directory is flushed last, because a rename alone does not survive
 * a power failure. No locks: two runs never share a temporary name, and the second rename fails.
 *
 * A killed process leaves its temporary, `.<name>.tmp-<random>`, which nothing reads.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { chmod, chown, link, lstat, mkdir, realpath, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { GpruneError } from "../../errors.ts";
import { removeMade, syncMade, syncTree } from "./durable.ts";
import { failPoint } from "./fail_points.ts";
import { errnoOf, lacksHardLinks, type OutputFile, outputFailed, writeNewFile } from "./output_file.ts";
import { fileExists, freeDirectory, freeFile, outputExists } from "./output_place.ts";

/**
 * Characters of the destination's name in a temporary's name: file systems allow 255 bytes, UTF-8 takes up to 3 each.
 */
const MAX_NAME_PREFIX = 64;

/** A file or directory that is being written under a temporary name. */
export interface Temporary {
  readonly path: string;
  /** The directory that will hold the output. */
  readonly parent: string;
  /** The topmost directory that was created to have `parent`; null when `parent` existed. */
  readonly madeFrom: string | null;
}

/** Files of an output that an interrupted run completed. */
export interface KeptFiles {
  /** Whether a file of that name exists with the bytes that were written. */
  has(name: string): Promise<boolean>;
  /** Records a file that has been written and flushed. */
  add(name: string): Promise<void>;
}

/** Writes the directory `target`: `fill` writes into a directory that is empty but for kept files. */
export type WriteDirectory = (
  target: string,
  fill: (temporaryPath: string, kept?: KeptFiles) => Promise<void>,
) => Promise<void>;

/** Temporaries of this process that are neither renamed nor removed yet. */
const live = new Set<Temporary>();

/** Called when a temporary comes into existence and when it is gone. */
let listener: (temporary: Temporary, isLive: boolean) => void = () => {};

/**
 * Sets the listener for temporaries of this process, so that another process can remove them when this one is killed.
 */
export function onTemporary(listen: (temporary: Temporary, isLive: boolean) => void): void {
  listener = listen;
}

/**
 * Writes a directory in one step: `fill` writes into a temporary sibling, which takes the target's name once all its
 * files are on the disk. Missing parent directories are created. After a failure the target is as it was, and nothing
 * else is left behind.
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
  const write = async (temporaryPath: string): Promise<void> => {
    await mkdir(temporaryPath);
    await fill(temporaryPath);
    await syncTree(temporaryPath);
  };
  await writeAtomically(path, write, replaceDirectory);
}

/**
 * Writes a new file in one step. Missing parent directories are created. After a failure nothing is left behind.
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
 * Writes or replaces a file in one step. Missing parent directories are created.
 * @param content - bytes, or text to be encoded as UTF-8
 * @throws GpruneError OUTPUT_FAILED when the file system refuses
 */
export async function writeFileAtomically(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  await replaceFileAtomically(path, (file) => file.write(bytes));
}

/**
 * Writes or replaces a file in one step, as `fill` writes it piece by piece.
 * @throws GpruneError OUTPUT_FAILED when the file system refuses; errors of `fill` pass through
 */
export async function replaceFileAtomically(
  path: string,
  fill: (file: OutputFile) => Promise<void>,
): Promise<void> {
  await writeAtomically(resolve(path), (temporaryPath) => writeNewFile(temporaryPath, fill));
}

/**
 * Renames a complete directory to `target`, once all its files are on the disk.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory at `target`, OUTPUT_FAILED
 */
export async function publishDirectory(from: string, target: string): Promise<void> {
  const path = await freeDirectory(target);
  try {
    await syncTree(from);
    failPoint("before-rename", path);
    await replaceDirectory(path, from);
    failPoint("after-rename", path);
    await syncMade(dirname(path), null);
  } catch (cause) {
    throw outputFailed(path, cause);
  }
}

/** The absolute path of a directory, links followed where it exists. */
export async function directoryPath(target: string): Promise<string> {
  const path = resolve(target);
  return realpath(path).catch(() => path);
}

/** Removes the temporaries of this process; synchronous, for handlers of SIGINT and SIGTERM. Never throws. */
export function removeTemporaries(): void {
  for (const temporary of live) remove(temporary);
}

/** Removes a temporary, also one of a process that was killed. Never throws. */
export function removeTemporary({ path, parent, madeFrom }: Temporary): void {
  try {
    // Retries, because a pending write may add a file to the directory while it is emptied.
    rmSync(path, { recursive: true, force: true, maxRetries: 4, retryDelay: 25 });
    removeMade(parent, madeFrom);
  } catch {
    // The error that led here is the one worth reporting.
  }
}

/** Has `write` create a temporary, has `publish` rename it to `path`, and flushes the parent directory. */
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
  listener(temporary, true);
  try {
    await write(temporary.path);
    failPoint("before-rename", path);
    await publish(path, temporary.path);
  } catch (cause) {
    remove(temporary);
    throw errnoOf(cause) === undefined ? withFinalPath(cause, path, temporary) : outputFailed(path, cause);
  }
  live.delete(temporary);
  listener(temporary, false);
  try {
    failPoint("after-rename", path);
    await syncMade(temporary.parent, temporary.madeFrom);
  } catch (cause) {
    throw outputFailed(path, cause);
  }
}

/** An error whose message names `path` instead of the temporary. */
function withFinalPath(error: unknown, path: string, temporary: Temporary): unknown {
  if (!(error instanceof GpruneError) || !error.message.includes(temporary.path)) return error;
  return error.inOtherWords({ message: error.message.replaceAll(temporary.path, () => path) });
}

/** Renames a temporary. @throws GpruneError OUTPUT_EXISTS when a directory with files has appeared at `path` */
async function renameTo(path: string, temporaryPath: string): Promise<void> {
  await rename(temporaryPath, path).catch((cause: unknown) => {
    const errno = errnoOf(cause);
    if (errno === "ENOTEMPTY" || errno === "EEXIST") {
      throw outputExists(path, "one that another process just wrote");
    }
    throw cause;
  });
}

/** Renames a directory to `path`, in place of an empty one if there is one, whose group and mode it takes over. */
async function replaceDirectory(path: string, temporaryPath: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found !== null) {
    // Only members of the group may change it. It can clear bits of the mode, so it comes first.
    await chown(temporaryPath, -1, found.gid).catch(() => {});
    // A directory that its owner may not write in cannot be moved.
    await chmod(temporaryPath, (found.mode & 0o7777) | 0o700);
  }
  await renameTo(path, temporaryPath);
}

/**
 * Gives a temporary the name of a new file by a hard link, which unlike a rename never replaces an existing file; by a
 * rename where the file system has no hard links.
 * @throws GpruneError OUTPUT_EXISTS when a file has appeared at `path`
 */
async function linkTo(path: string, temporaryPath: string): Promise<void> {
  try {
    await link(temporaryPath, path);
  } catch (cause) {
    if (errnoOf(cause) === "EEXIST") throw fileExists(path);
    if (!lacksHardLinks(cause)) throw cause;
    // Only a file that appears between this look and the rename is replaced.
    if ((await lstat(path).catch(() => null)) !== null) throw fileExists(path);
    return rename(temporaryPath, path);
  }
  await unlink(temporaryPath);
}

function remove(temporary: Temporary): void {
  live.delete(temporary);
  removeTemporary(temporary);
  listener(temporary, false);
}
