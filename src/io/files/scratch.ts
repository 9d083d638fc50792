/** Local scratch directories, in the system's place for temporary files; who starts a process removes its directory. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GpruneError } from "../../errors.ts";
import { errnoOf } from "./output_file.ts";

/** A path for a new scratch directory, which is not created. */
export function scratchPath(): string {
  return join(tmpdir(), `gprune-worker-${randomUUID()}`);
}

/**
 * Creates a directory for temporary files.
 * @param prefix - how its name begins
 * @throws GpruneError OUTPUT_FAILED when the place for temporary files cannot be written
 */
export function makeTemporary(prefix: string): string {
  const place = tmpdir();
  try {
    return mkdtempSync(join(place, prefix));
  } catch (cause) {
    const message = `${place}: expected a writable directory for temporary files, got ${errnoOf(cause) ?? String(cause)}`;
    const hint = "Set TMPDIR to a directory that exists, can be written and has space.";
    throw new GpruneError("OUTPUT_FAILED", message, { hint, cause });
  }
}

/** Removes the directory, if it exists. Synchronous, because it is called while a process ends. */
export function removeScratch(path: string): void {
  rmSync(path, { recursive: true, force: true });
}
