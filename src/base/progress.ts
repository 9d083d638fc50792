/** How long-running stages report their progress. Events are plain JSON, so they can cross process boundaries. */

/** One step of a stage. */
export interface ProgressEvent {
  /** `calibrate`, `evaluate web`, ...: a new name starts a new stage. */
  readonly stage: string;
  /** Work done so far, in `unit`s; may be fractional: a token that is through half of the layers is half done. */
  readonly done: number;
  /** Work in all; a stage ends with done = total. */
  readonly total: number;
  /** Plural noun: `tokens`, `layers`, `bytes`. */
  readonly unit: string;
  /** Current part of the work: `layer 3/30`. */
  readonly detail?: string;
  /** Measurements for curves: the loss of every set so far, or the divergence of a training step. */
  readonly values?: readonly NamedValue[];
  /** Advice for the user; displays print it on a line of its own in place of the event. */
  readonly hint?: string;
}

/** One measurement. Events have lists of these and no record, where a set named `__proto__` would mean something. */
export interface NamedValue {
  readonly name: string;
  readonly value: number;
}

/** Called after every step, in order. An error that it throws ends the computation. */
export type OnProgress = (event: ProgressEvent) => void;

/** Name of a stage and the listener to its progress. */
export interface Reporting {
  readonly stage: string;
  readonly onProgress: OnProgress;
}

/** Ignores progress. */
export const silent: OnProgress = () => {};

/** Reports a running total. @returns a function to call with every amount of work done */
export function counting(
  onProgress: OnProgress,
  { stage, total, unit }: Pick<ProgressEvent, "stage" | "total" | "unit">,
): (amount: number) => void {
  let done = 0;
  return (amount) => {
    done += amount;
    onProgress({ stage, done, total, unit });
  };
}
