/** How long a thread of this process computes. Node 20 tells the processor time of all threads together. */
import type { Worker } from "node:worker_threads";

/**
 * Starts to measure a thread.
 * @returns a function that returns the seconds since then that the thread has computed, at most: the time in which it
 *   was not idle, which counts waiting for a busy processor, or the processor time of the whole process if that is less
 */
export function threadTime({ performance }: Worker): () => number {
  const all = process.cpuUsage();
  const { active } = performance.eventLoopUtilization();
  return () => {
    const { user, system } = process.cpuUsage(all);
    const notIdle = performance.eventLoopUtilization().active - active;
    return Math.min((user + system) / 1e6, notIdle / 1e3);
  };
}
