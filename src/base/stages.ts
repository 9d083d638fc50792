/**
 * How a long computation saves its progress. A run is a sequence of named stages; between units of work, a stage may
 * report a state that it can resume from. Where states are saved, if anywhere, is not known here (io/run/directory.ts).
 * Values and states are plain: numbers, strings, arrays, records, maps and typed arrays.
 */

import { GpruneError } from "../errors.ts";
import type { OnProgress } from "./progress.ts";

/** Progress inside a stage whose states are of type S. */
export interface Checkpoints<S = unknown> {
  /** The last saved state; undefined when the stage begins. */
  restore(): Promise<S | undefined>;
  /**
   * Reports that a unit of work is done. `state` is called only when the state is to be saved; the caller must not
   * change it before the promise resolves.
   * @throws GpruneError INTERRUPTED when the run is to stop; the state has been saved then
   */
  reached(state: () => S): Promise<void>;
}

/** Computes stages, or returns their saved values. */
export interface Stages {
  /**
   * The value of a stage. Names are unique in a run.
   * @throws GpruneError INTERRUPTED when the run is to stop
   */
  run<T, S = unknown>(name: string, compute: (checkpoints: Checkpoints<S>) => Promise<T>): Promise<T>;
}

/** Saves nothing. */
export const NO_CHECKPOINTS: Checkpoints<never> = { restore: async () => undefined, reached: async () => {} };

/** Computes everything and saves nothing. */
export const NO_STAGES: Stages = { run: (_name, compute) => compute(NO_CHECKPOINTS as Checkpoints<never>) };

/** Seconds that an interrupted run gets to finish its unit of work, so that its state can be saved. */
const GRACE_SECONDS = 10;

/** The error of a run that was told to stop. */
export function interrupted(signal: AbortSignal, hint: string): GpruneError {
  const cause: unknown = signal.reason;
  return new GpruneError("INTERRUPTED", "stopped before the run finished", { hint, cause });
}

/**
 * A listener that ends a run which was told to stop and does not finish its unit of work in time: `graceSeconds` after
 * the first event that sees the signal. A run that saves its state in time has stopped by then; one that saves none
 * has no grace to wait for, and ends at that event or before it begins.
 * @throws GpruneError INTERRUPTED, from the event; at once without grace
 */
export function interruptible(
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
  graceSeconds: number = GRACE_SECONDS,
): OnProgress {
  if (signal === undefined) return onProgress;
  let noticedAt: number | null = null;
  const throwIfOverdue = (): void => {
    if (!signal.aborted) return;
    noticedAt ??= performance.now();
    if (performance.now() - noticedAt >= 1000 * graceSeconds)
      throw interrupted(signal, "The result of the current step was discarded.");
  };
  throwIfOverdue();
  return (event) => {
    onProgress(event);
    throwIfOverdue();
  };
}
