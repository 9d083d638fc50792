/** How long-running stages tell what they are doing. Events are plain JSON, so they can cross process borders. */

/** One step of a stage. */
export interface ProgressEvent {
  /** `calibrate`, `evaluate dense`, ...: a new name starts a new stage. */
  readonly stage: string;
  /** Work done so far, in `unit`s, perhaps a fraction: a token that is through half of the layers is half done. */
  readonly done: number;
  /** Work in all; a stage ends with done = total. */
  readonly total: number;
  /** Plural noun: `tokens`, `layers`, `bytes`. */
  readonly unit: string;
  /** What is being worked on right now: `layer 3/30`. */
  readonly detail?: string;
  /** What was measured up to here, for curves: the loss of every set, or the divergence of a training step. */
  readonly values?: readonly NamedValue[];
  /** What the user should know, and do if it matters; displays give it a line in place of the event. */
  readonly hint?: string;
}

/** A list of these and not a record, so that no name of a set can mean anything. */
export interface NamedValue {
  readonly name: string;
  readonly value: number;
}

/** Hears of every step, in the order in which they are done. What it throws ends the computation. */
export type OnProgress = (event: ProgressEvent) => void;

/** Where a stage tells its progress. */
export interface Reporting {
  readonly stage: string;
  readonly onProgress: OnProgress;
}

/** Ignores progress. */
export const silent: OnProgress = () => {};

/** Counts work as it is done. @returns what hears of every amount */
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
