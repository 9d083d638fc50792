/** `--resume DIR` of commands that evaluate. */
import { stopSignal } from "./compute_child.ts";

/**
 * Settings of an evaluation that keeps its finished parts. With a directory the evaluation itself stops on Ctrl-C, and
 * releases the directory; without one the command is ended at once.
 */
export function resumeSettings(directory: string | undefined): {
  readonly resumeDirectory?: string;
  readonly signal?: AbortSignal;
} {
  return directory === undefined ? {} : { resumeDirectory: directory, signal: stopSignal() };
}
