/** The home directory in paths, for whoever gets them without a shell's help. */
import { homedir } from "node:os";
import { join } from "node:path";

/** A path with the home directory in place of a `~` that it begins with. */
export function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}
