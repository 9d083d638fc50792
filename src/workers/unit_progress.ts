/**
 * Progress of a pass that others compute: it is told again and again while nothing happens, so that a run can be
 * stopped.
 */
import type { ProgressEvent, Reporting } from "../base/progress.ts";
import type { Dispatcher } from "./dispatcher.ts";

interface PassFacts extends Reporting, Pick<ProgressEvent, "total" | "unit"> {}

/** Seconds between two events. */
const TELL_SECONDS = 1;

export class UnitProgress {
  readonly #dispatcher: Dispatcher;
  readonly #facts: PassFacts;
  #done = 0;

  constructor(dispatcher: Dispatcher, facts: PassFacts) {
    this.#dispatcher = dispatcher;
    this.#facts = facts;
  }

  /** Says that so much more is done. */
  advance(amount: number): void {
    this.#done += amount;
    this.#tell();
  }

  /** Computes, and says all along where it stands; whoever listens may throw, which ends all waiting. */
  async during<T>(compute: () => Promise<T>): Promise<T> {
    const timer = setInterval(() => this.#tell(), 1000 * TELL_SECONDS);
    try {
      const result = await compute();
      // Shares of what a unit did need not add up to all of it.
      this.#done = this.#facts.total;
      this.#tell();
      return result;
    } finally {
      clearInterval(timer);
    }
  }

  #tell(): void {
    const { onProgress, total, ...facts } = this.#facts;
    const { workers } = this.#dispatcher;
    const detail =
      workers === 0 ? "no worker listens yet" : `${workers} ${workers === 1 ? "worker" : "workers"}`;
    try {
      onProgress({ ...facts, done: Math.min(total, this.#done), total, detail });
    } catch (error) {
      this.#dispatcher.fail(error);
    }
  }
}
