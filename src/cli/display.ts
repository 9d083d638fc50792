/** What every display of progress is and measures. */
import type { OnProgress, ProgressEvent } from "../progress.ts";

/** Shows progress events; `stop` ends the last stage's display. */
export interface ProgressDisplay {
  readonly onProgress: OnProgress;
  stop(): void;
}

/** Speed since a stage began. */
export class Rate {
  readonly #start = performance.now();

  /** `810 tokens/s` */
  text({ done, unit }: ProgressEvent): string {
    const perSecond = done / this.#seconds();
    return unit === "bytes"
      ? `${(perSecond / 1e6).toFixed(0)} MB/s`
      : `${perSecond.toFixed(perSecond < 10 ? 1 : 0)} ${unit}/s`;
  }

  /** `1:05 left`; empty while nothing is done. */
  timeLeft({ done, total }: ProgressEvent): string {
    if (done === 0) return "";
    const seconds = Math.ceil(((total - done) / done) * this.#seconds());
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} left`;
  }

  /** `12.3 s`, `2 min 05 s` */
  elapsed(): string {
    const seconds = this.#seconds();
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  }

  #seconds(): number {
    return Math.max(1e-3, (performance.now() - this.#start) / 1000);
  }
}
