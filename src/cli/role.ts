/** Which of the two processes of a command this one is. */

/** Marks the process that the command line started to compute. */
export const CHILD_VARIABLE = "GPRUNE_COMPUTES";

/** Whether this process computes for a parent. */
export function isComputeChild(): boolean {
  return process.env[CHILD_VARIABLE] === "1" && process.send !== undefined;
}
