/**
 * Where an output may go: whether there is nothing yet, whether it could be put there, and whether anything can be
 * written at all. Asked before hours of work for it (`require...`), and once more when it is there
 * (output_directory.ts).
 */
import { existsSync, mkdtempSync, rmdirSync } from "node:fs";
import { lstat, readdir, realpath } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { GpruneError } from "../../errors.ts";
import { isMountPoint } from "./mount_point.ts";
import { errnoOf, outputFailed, writeHint } from "./output_file.ts";

/**
 * Checks that a directory can be written, before hours of work for it: makes and removes an empty one in the nearest
 * directory that exists.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory that can be replaced, OUTPUT_FAILED
 *   when the file system refuses
 */
export async function requireFreeDirectory(target: string): Promise<void> {
  const path = await freeDirectory(target);
  requireWritable(dirname(path), `a directory beside ${target}, where the output begins`, target);
}

/**
 * Checks that outputs can be made inside a directory, which stays what it is when it exists.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory, OUTPUT_FAILED when the file system
 *   refuses
 */
export async function requireEmptyDirectory(target: string): Promise<void> {
  const real = await existingDirectory(target);
  if (real !== null) await requireEmpty(target, real);
  requireWritable(real ?? resolve(target), `the outputs in ${target}`);
}

/**
 * Checks that a new file can be written, before hours of work for it, as `requireFreeDirectory` does.
 * @throws GpruneError OUTPUT_EXISTS when there is something, OUTPUT_FAILED when the file system refuses
 */
export async function requireFreeFile(target: string): Promise<void> {
  requireWritable(dirname(await freeFile(target)), `the file ${target}`);
}

/**
 * The same for a file that may take the place of another one.
 * @throws GpruneError OUTPUT_EXISTS when there is something else than a file, OUTPUT_FAILED when the file system
 * refuses
 */
export async function requireReplaceableFile(target: string): Promise<void> {
  const path = resolve(target);
  requireWritable(dirname(path), `the file ${target}`);
  const found = await lstat(path).catch(() => null);
  if (found?.isDirectory()) {
    throw new GpruneError("OUTPUT_EXISTS", `${target}: expected the name of a file, got a directory`, {
      hint: "Choose another name.",
    });
  }
}

/**
 * @param parent - where something is to be made; it or the nearest directory above it that exists is tried
 * @param made - what, for messages
 * @param target - a directory that may exist in it, and could have outputs inside
 * @throws GpruneError OUTPUT_FAILED naming the directory that cannot be written in, and why it would be
 */
function requireWritable(parent: string, made: string, target?: string): void {
  let place = parent;
  while (!existsSync(place)) place = dirname(place);
  try {
    // Synchronous, so that no interrupt comes between the two.
    rmdirSync(mkdtempSync(join(place, ".gprune-")));
  } catch (cause) {
    const message = `${place}: expected to make ${made}, got ${errnoOf(cause) ?? String(cause)}`;
    const inside = target !== undefined && existsSync(target) ? ` ${insideHint(target)}` : "";
    const hint = `${writeHint(cause) ?? ""}${inside}`.trim();
    throw new GpruneError("OUTPUT_FAILED", message, { ...(hint !== "" && { hint }), cause });
  }
}

/**
 * The real path a directory will have.
 * @throws GpruneError OUTPUT_EXISTS unless there is nothing or an empty directory that a rename can replace
 */
export async function freeDirectory(target: string): Promise<string> {
  const real = await existingDirectory(target);
  if (real === null) return resolve(target);
  await requireAway(target, real);
  await requireEmpty(target, real);
  if (await isMountPoint(real)) throw irreplaceable(target, "a mount point (a volume or disk of its own)");
  return real;
}

/**
 * The real path of a directory; null when there is nothing.
 * @throws GpruneError OUTPUT_EXISTS for a link to nowhere
 */
async function existingDirectory(target: string): Promise<string | null> {
  const path = resolve(target);
  const found = await lstat(path).catch((cause: unknown) => {
    if (errnoOf(cause) === "ENOENT") return null;
    throw outputFailed(target, cause);
  });
  if (found === null) return null;
  return realpath(path).catch((cause: unknown) => {
    throw errnoOf(cause) === "ENOENT"
      ? outputExists(target, "a link to nowhere")
      : outputFailed(target, cause);
  });
}

/** @throws GpruneError OUTPUT_EXISTS when there is a file at the path, or a directory with files in it */
async function requireEmpty(target: string, real: string): Promise<void> {
  const names = await readdir(real).catch((cause: unknown) => {
    throw errnoOf(cause) === "ENOTDIR" ? outputExists(target, "a file") : outputFailed(target, cause);
  });
  if (names.length > 0) throw outputExists(target, "a directory with files in it");
}

/**
 * A shell in a directory that was replaced is nowhere.
 * @throws GpruneError OUTPUT_EXISTS for the current directory, and for what it lies in
 */
async function requireAway(target: string, real: string): Promise<void> {
  const way = relative(real, await realpath("."));
  if (way === "") throw irreplaceable(target, "the current directory");
  if (!isAbsolute(way) && way.split(sep)[0] !== "..") {
    throw irreplaceable(target, "a directory that the current one lies in");
  }
}

/**
 * The absolute path a file will have.
 * @throws GpruneError OUTPUT_EXISTS when there is something, be it a link to nowhere; BAD_ARGUMENT for what names a
 * directory
 */
export async function freeFile(target: string): Promise<string> {
  const path = resolve(target);
  if (target === "" || target.endsWith("/")) {
    throw new GpruneError("BAD_ARGUMENT", `output: expected the name of a file, got "${target}"`);
  }
  const found = await lstat(path).catch((cause: unknown) => {
    if (errnoOf(cause) === "ENOENT") return null;
    throw outputFailed(target, cause);
  });
  if (found !== null) throw fileExists(target);
  return path;
}

/** The name is taken. */
export function fileExists(target: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${target}: expected a new file, got a name that is in use`, {
    hint: "Choose another output file, or remove this one.",
  });
}

/** The name is taken. */
export function outputExists(target: string, found: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${target}: expected a new or empty directory, got ${found}`, {
    hint: "Choose another output directory, or remove this one.",
  });
}

/** The output takes the place of the directory that was there. */
function irreplaceable(target: string, found: string): GpruneError {
  const message = `${target}: expected a directory that the output can take the place of, got ${found}`;
  return new GpruneError("OUTPUT_EXISTS", message, { hint: insideHint(target) });
}

function insideHint(target: string): string {
  return `Name a directory inside it: -o ${join(target, "model")}`;
}
