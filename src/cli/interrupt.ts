/** Cleanups for when the process is told to stop: temporary files, a hidden cursor. */

const cleanups = new Set<() => void>();

/**
 * Registers `cleanup` for when the process is interrupted. It must be synchronous and must not throw.
 * @returns a function that unregisters it
 */
export function onInterrupt(cleanup: () => void): () => void {
  cleanups.add(cleanup);
  return () => cleanups.delete(cleanup);
}

/** Calls every cleanup once, the latest first. */
export function runCleanups(): void {
  const latestFirst = [...cleanups].reverse();
  cleanups.clear();
  for (const cleanup of latestFirst) cleanup();
}
