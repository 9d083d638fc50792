/** Directories of this machine for what one process has on its way; whoever ends the process removes it. */
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A path of which there is nothing yet. */
export function scratchPath(): string {
  return join(tmpdir(), `gprune-worker-${randomUUID()}`);
}

/** Removes the directory, if there is one. Not later but now: it is called when a process ends. */
export function removeScratch(path: string): void {
  rmSync(path, { recursive: true, force: true });
}
