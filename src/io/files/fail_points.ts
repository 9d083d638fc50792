/**
 * Named places in this folder where a test can let the file system or the whole process fail. Nothing is armed unless a
 * test does it, and then a place costs one comparison.
 */

/** Where something may fail. `before-manifest` is before the file that says what else is complete. */
export type FailPoint =
  | "before-read"
  | "before-write"
  | "mid-write"
  | "before-fsync"
  | "before-rename"
  | "after-rename"
  | "before-manifest";

/**
 * Decides what happens at a place: nothing, an exception as the system call would give it, the end of the process, or,
 * at places that move bytes, how many the call moves at most.
 */
export type FaultHook = (point: FailPoint, path: string, bytes: number) => number | undefined;

let hook: FaultHook | null = null;

/** Arms or, with null, disarms the places of this process. */
export function armFailPoints(next: FaultHook | null): void {
  hook = next;
}

/** A place where no bytes are moved. */
export function failPoint(point: FailPoint, path: string): void {
  hook?.(point, path, 0);
}

/** A place before a system call that moves bytes. @returns how many it is asked to move, at least 1 */
export function bytesToMove(point: FailPoint, path: string, bytes: number): number {
  if (hook === null) return bytes;
  return Math.max(1, Math.min(bytes, hook(point, path, bytes) ?? bytes));
}
