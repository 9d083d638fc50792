/**
 * Checks of an output's destination: that it is free, that a rename can put the output there, and that the file system
 * can be written. The `require...` functions run before hours of work; output_directory.ts checks again at the end.
 */
import { existsSync, mkdtempSync, rmdirSync } from "node:fs";
import { lstat, readdir, realpath } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { badArgument } from "../../base/arguments.ts";
import { GpruneError } from "../../errors.ts";
import { isMountPoint } from "./mount_point.ts";
import { nearestExisting } from "./nearest_existing.ts";
import { errnoOf, outputFailed, writeHint } from "./output_file.ts";

/**
 * Checks that an output directory can be written, by creating and removing an empty one in the nearest existing parent.
 * @param source - the model that is read; the hint must not suggest to remove it
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory that can be replaced, OUTPUT_FAILED
 *   when the file system refuses
 */
export async function requireFreeDirectory(target: string, source?: string): Promise<void> {
  if (source !== undefined && (await isSamePlace(target, source))) {
    const message = `${target}: expected another directory than the model's own, got the same`;
    throw new GpruneError("OUTPUT_EXISTS", message, { hint: "Choose another output directory." });
  }
  const path = await freeDirectory(target);
  requireWritable(dirname(path), `a temporary directory beside ${target}`, target);
}

/** Whether two paths lead to the same existing file or directory. */
async function isSamePlace(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => realpath(path).catch(() => null)));
  return a != null && a === b;
}

/**
 * Checks that outputs can be created inside a directory, which is not replaced when it exists.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory, OUTPUT_FAILED when the file system
 *   refuses
 */
export async function requireEmptyDirectory(target: string): Promise<void> {
  const real = await realPathOf(target);
  if (real !== null) await requireEmpty(target, real);
  requireWritable(real ?? resolve(target), `the outputs in ${target}`);
}

/**
 * Checks that a new file can be written.
 * @throws GpruneError OUTPUT_EXISTS when there is something, OUTPUT_FAILED when the file system refuses
 */
export async function requireFreeFile(target: string): Promise<void> {
  requireWritable(dirname(await freeFile(target)), `the file ${target}`);
}

/**
 * Checks that a file can be written or replaced.
 * @throws GpruneError OUTPUT_EXISTS when there is a directory, OUTPUT_FAILED when the file system refuses
 */
export async function requireReplaceableFile(target: string): Promise<void> {
  const path = resolve(target);
  requireWritable(dirname(path), `the file ${target}`);
  const found = await lstat(path).catch(() => null);
  if (found?.isDirectory()) {
    throw new GpruneError("OUTPUT_EXISTS", `${target}: expected a file name, got a directory`, {
      hint: "Choose another name.",
    });
  }
}

/**
 * Creates and removes a directory in `parent`, or in its nearest existing ancestor.
 * @param purpose - what would be created there, for the message
 * @param target - the output in `parent`; if it exists, the hint suggests a directory inside it
 * @throws GpruneError OUTPUT_FAILED naming the directory that cannot be written
 */
function requireWritable(parent: string, purpose: string, target?: string): void {
  const existing = nearestExisting(parent);
  try {
    // Synchronous, so that no interrupt comes between the two calls.
    rmdirSync(mkdtempSync(join(existing, ".gprune-")));
  } catch (cause) {
    const message = `${existing}: expected a writable directory for ${purpose}, got ${errnoOf(cause) ?? String(cause)}`;
    const inside = target !== undefined && existsSync(target) ? ` ${insideHint(target)}` : "";
    const hint = `${writeHint(cause) ?? ""}${inside}`.trim();
    throw new GpruneError("OUTPUT_FAILED", message, { ...(hint !== "" && { hint }), cause });
  }
}

/**
 * The real path that an output directory will have.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory that a rename can replace
 */
export async function freeDirectory(target: string): Promise<string> {
  const real = await realPathOf(target);
  if (real === null) return resolve(target);
  await requireNotCurrent(target, real);
  await requireEmpty(target, real);
  if (await isMountPoint(real)) throw irreplaceable(target, "a mount point (a volume or disk of its own)");
  return real;
}

/**
 * The real path of what exists at `target`; null when nothing does.
 * @throws GpruneError OUTPUT_EXISTS for a dangling link
 */
async function realPathOf(target: string): Promise<string | null> {
  const path = resolve(target);
  const found = await lstat(path).catch((cause: unknown) => {
    if (errnoOf(cause) === "ENOENT") return null;
    throw outputFailed(target, cause);
  });
  if (found === null) return null;
  return realpath(path).catch((cause: unknown) => {
    throw errnoOf(cause) === "ENOENT" ? outputExists(target, "a broken link") : outputFailed(target, cause);
  });
}

/** @throws GpruneError OUTPUT_EXISTS for a file, and for a directory with entries */
async function requireEmpty(target: string, real: string): Promise<void> {
  const names = await readdir(real).catch((cause: unknown) => {
    throw errnoOf(cause) === "ENOTDIR" ? outputExists(target, "a file") : outputFailed(target, cause);
  });
  if (names.length > 0) throw outputExists(target, "a directory that is not empty");
}

/**
 * Refuses the current directory and its ancestors: replacing one would leave the user's shell in a deleted directory.
 * @throws GpruneError OUTPUT_EXISTS
 */
async function requireNotCurrent(target: string, real: string): Promise<void> {
  const fromTarget = relative(real, await realpath("."));
  if (fromTarget === "") throw irreplaceable(target, "the current directory");
  if (!isAbsolute(fromTarget) && fromTarget.split(sep)[0] !== "..") {
    throw irreplaceable(target, "a parent of the current directory");
  }
}

/**
 * The absolute path that a new file will have.
 * @throws GpruneError OUTPUT_EXISTS when something exists there, a dangling link included; BAD_ARGUMENT for an empty
 *   name and one that ends with `/`
 */
export async function freeFile(target: string): Promise<string> {
  const path = resolve(target);
  if (target === "" || target.endsWith("/")) throw badArgument("output", "a file name", `"${target}"`);
  const found = await lstat(path).catch((cause: unknown) => {
    if (errnoOf(cause) === "ENOENT") return null;
    throw outputFailed(target, cause);
  });
  if (found !== null) throw fileExists(target);
  return path;
}

/** Error OUTPUT_EXISTS for a file name that is in use. */
export function fileExists(target: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${target}: expected a new file, got one that exists`, {
    hint: "Choose another output file or remove this one.",
  });
}

/** Error OUTPUT_EXISTS for a directory name that is in use. */
export function outputExists(target: string, found: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${target}: expected a new or empty directory, got ${found}`, {
    hint: "Choose another output directory or remove this one.",
  });
}

/** Error OUTPUT_EXISTS for a directory that a rename cannot or should not replace. */
function irreplaceable(target: string, found: string): GpruneError {
  const message = `${target}: expected a directory that the output can replace, got ${found}`;
  return new GpruneError("OUTPUT_EXISTS", message, { hint: insideHint(target) });
}

function insideHint(target: string): string {
  return `Choose a directory inside it: -o ${join(target, "model")}`;
}
