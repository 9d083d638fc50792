/** Whether this process is the parent or the child of a command. */

/** Environment variable that is set in the computing child. */
export const CHILD_VARIABLE = "GPRUNE_COMPUTES";

/** Whether this process computes for a parent. */
export function isComputeChild(): boolean {
  return process.env[CHILD_VARIABLE] === "1" && process.send !== undefined;
}
