/** Where an output's path begins to be missing. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";

/**
 * The path itself if it exists, else the nearest directory above it that does; the root where nothing exists, as on a
 * missing drive of Windows.
 * @param parentOf - `dirname`, of this system when absent
 */
export function nearestExisting(path: string, parentOf: (path: string) => string = dirname): string {
  const parent = parentOf(path);
  return parent === path || existsSync(path) ? path : nearestExisting(parent, parentOf);
}
