/** Expansion of `~` in paths that no shell has expanded. */
import { homedir } from "node:os";
import { join } from "node:path";

/** Replaces a leading `~` by the home directory. */
export function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}
