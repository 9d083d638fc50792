/** Interface of progress displays, and the speed that they show. */
import type { OnProgress, ProgressEvent } from "../base/progress.ts";

/** Shows progress events; `stop` removes what is drawn of the current stage. */
export interface ProgressDisplay {
  readonly onProgress: OnProgress;
  stop(): void;
}

/** Least number of seconds for a meaningful speed. */
const MIN_SECONDS = 0.01;

/** Speed since the first event of a stage, which in a resumed run is not at 0. */
export class Rate {
  readonly #start = performance.now();
  readonly #done: number;

  constructor(first: ProgressEvent) {
    this.#done = first.done;
  }

  /** `810 tokens/s`; empty while too little is done. */
  text({ done, unit }: ProgressEvent): string {
    if (!this.#isKnown(done)) return "";
    const perSecond = this.#perSecond(done);
    return unit === "bytes"
      ? `${(perSecond / 1e6).toFixed(0)} MB/s`
      : `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en")} ${unit}/s`;
  }

  /** `1:05 left`; empty while too little is done. */
  timeLeft({ done, total }: ProgressEvent): string {
    if (!this.#isKnown(done)) return "";
    const seconds = Math.ceil((total - done) / this.#perSecond(done));
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} left`;
  }

  /** `12.3 s`, `2 min 05 s` */
  elapsed(): string {
    const seconds = this.#seconds();
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  }

  #isKnown(done: number): boolean {
    return done > this.#done && this.#seconds() >= MIN_SECONDS;
  }

  #perSecond(done: number): number {
    return (done - this.#done) / this.#seconds();
  }

  #seconds(): number {
    return (performance.now() - this.#start) / 1000;
  }
}
