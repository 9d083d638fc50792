/** Local scratch directories of worker processes; the parent of a process removes its directory. */
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A path for a new scratch directory, which is not created. */
export function scratchPath(): string {
  return join(tmpdir(), `gprune-worker-${randomUUID()}`);
}

/** Removes the directory, if it exists. Synchronous, because it is called while a process ends. */
export function removeScratch(path: string): void {
  rmSync(path, { recursive: true, force: true });
}
