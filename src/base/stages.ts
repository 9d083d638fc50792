/**
 * What a long computation asks of the keeper of its progress. A run is a sequence of named stages; a stage may report
 * states between its units of work, from which it can go on. Where these are kept, if anywhere, is not known here: see
 * io/run/directory.ts. Values and states are plain: numbers, strings, arrays, records, maps and typed arrays.
 */

import { GpruneError } from "../errors.ts";
import type { OnProgress } from "./progress.ts";

/** Progress inside a stage whose states are of type S. */
export interface Checkpoints<S = unknown> {
  /** The last state that was kept; undefined when the stage begins. */
  restore(): Promise<S | undefined>;
  /**
   * Says that a unit of work is done. The state is asked for when it is to be kept, and is not changed before the
   * promise resolves.
   * @throws GpruneError INTERRUPTED when the run is to stop; the state has been kept then
   */
  reached(state: () => S): Promise<void>;
}

/** Computes stages, or gives back what was kept of them. */
export interface Stages {
  /**
   * The value of a stage. Names are unique in a run.
   * @throws GpruneError INTERRUPTED when the run is to stop
   */
  run<T, S = unknown>(name: string, compute: (checkpoints: Checkpoints<S>) => Promise<T>): Promise<T>;
}

/** Keeps nothing. */
export const NO_CHECKPOINTS: Checkpoints<never> = { restore: async () => undefined, reached: async () => {} };

/** Computes everything and keeps nothing. */
export const NO_STAGES: Stages = { run: (_name, compute) => compute(NO_CHECKPOINTS as Checkpoints<never>) };

/** Seconds that a run which is to stop has for the unit of work it is at, so that its state can be kept. */
const GRACE_SECONDS = 10;

/** The error of a run that was told to stop. */
export function interrupted(signal: AbortSignal, hint: string): GpruneError {
  const cause: unknown = signal.reason;
  return new GpruneError("INTERRUPTED", "stopped before the run was finished", { hint, cause });
}

/**
 * Progress events that end a run which was told to stop and does not come to the end of a unit of work, some time after
 * the first event that knows of it. Where the state is kept in time, this never happens; where none is kept, 0 seconds
 * of grace end it at that event, or before it begins.
 * @throws GpruneError INTERRUPTED, from the event; at once without grace
 */
export function interruptible(
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
  graceSeconds: number = GRACE_SECONDS,
): OnProgress {
  if (signal === undefined) return onProgress;
  let told: number | null = null;
  const stopInTime = (): void => {
    if (!signal.aborted) return;
    told ??= performance.now();
    if (performance.now() - told >= 1000 * graceSeconds)
      throw interrupted(signal, "The step that was being computed is dropped.");
  };
  stopInTime();
  return (event) => {
    onProgress(event);
    stopInTime();
  };
}
