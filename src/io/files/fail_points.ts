/**
 * Named places in this folder where a test can make the file system or the whole process fail. Only tests arm them;
 * unarmed, each costs one comparison.
 */

/** Places of failures. `before-manifest` comes before the file that lists the complete files. */
export type FailPoint =
  | "before-read"
  | "before-write"
  | "mid-write"
  | "before-fsync"
  | "before-rename"
  | "after-rename"
  | "before-manifest";

/**
 * Decides what happens at a place: nothing, an exception like that of the system call, the end of the process, or a
 * limit of the bytes that the call moves.
 */
export type FaultHook = (point: FailPoint, path: string, bytes: number) => number | undefined;

let hook: FaultHook | null = null;

/** Arms the places of this process, or disarms them with null. */
export function armFailPoints(next: FaultHook | null): void {
  hook = next;
}

/** A place before or after a system call that moves no bytes. */
export function failPoint(point: FailPoint, path: string): void {
  hook?.(point, path, 0);
}

/** A place before a system call that moves bytes. @returns how many the call shall move, at least 1 */
export function bytesToMove(point: FailPoint, path: string, bytes: number): number {
  if (hook === null) return bytes;
  return Math.max(1, Math.min(bytes, hook(point, path, bytes) ?? bytes));
}
