/**
 * Progress of a remote pass. Events are repeated while nothing happens, since a listener may stop the run by throwing.
 */
import type { ProgressEvent, Reporting } from "../base/progress.ts";
import type { Dispatcher } from "./dispatcher.ts";

interface PassFacts extends Reporting, Pick<ProgressEvent, "total" | "unit"> {}

/** Seconds between two events. */
const REPORT_SECONDS = 1;
/** Largest share that is reported before the end: an event with everything done ends a stage, so there is only one. */
const UNFINISHED = 0.999;

/** Reports the progress of one remote pass. */
export class UnitProgress {
  readonly #dispatcher: Dispatcher;
  readonly #facts: PassFacts;
  #done = 0;

  constructor(dispatcher: Dispatcher, facts: PassFacts) {
    this.#dispatcher = dispatcher;
    this.#facts = facts;
  }

  /** Adds to the work that is done, and reports it. */
  advance(amount: number): void {
    this.#done += amount;
    this.#report();
  }

  /** Runs `compute` and reports progress meanwhile; a listener that throws ends all waiting. */
  async during<T>(compute: () => Promise<T>): Promise<T> {
    const timer = setInterval(() => this.#report(), 1000 * REPORT_SECONDS);
    try {
      const result = await compute();
      this.#report(this.#facts.total);
      return result;
    } finally {
      clearInterval(timer);
    }
  }

  #report(done: number = Math.min(this.#done, UNFINISHED * this.#facts.total)): void {
    const { onProgress, total, ...facts } = this.#facts;
    const { workers } = this.#dispatcher;
    const detail = workers === 0 ? "no workers yet" : `${workers} ${workers === 1 ? "worker" : "workers"}`;
    try {
      onProgress({ ...facts, done, total, detail });
    } catch (error) {
      this.#dispatcher.fail(error);
    }
  }
}
