/** `--resume DIR` of commands that evaluate. */
import { stopSignal } from "./compute_child.ts";

/**
 * Options of an evaluation whose finished parts are kept. With a directory Ctrl-C is left to the evaluation, so that it
 * lets go of it; without one the command is ended at once.
 */
export function keeping(directory: string | undefined): {
  readonly keep?: string;
  readonly signal?: AbortSignal;
} {
  return directory === undefined ? {} : { keep: directory, signal: stopSignal() };
}
