/**
 * The process in front of the user. It runs the same command line in a child that computes, draws its progress, prints
 * its output, and answers signals at once: the first one asks the child to stop where it can be resumed, or ends one
 * that keeps nothing; the second one kills it. It restarts nothing.
 */
import { ComputeProcess, type Outcome } from "./compute_process.ts";
import type { ProgressDisplay } from "./display.ts";
import { EXIT_CODES, onSignals, printFailure } from "./exit.ts";
import type { StopSignal } from "./messages.ts";
import { loudDisplay } from "./progress.ts";
import { plainText, writeErr, writeOut } from "./terminal.ts";

/** Seconds of silence after which the user is told; a single product of large matrices takes less. */
const SILENCE_SECONDS = 300;
/** Seconds between two reminders that a child is still stopping. */
const PATIENCE_SECONDS = 15;

/** Runs this process's own command line in a child, and sets the exit code. */
export async function computeInChild(): Promise<void> {
  const watch = new Watch(await loudDisplay());
  onSignals((signal) => watch.stop(signal));
  process.exitCode = await watch.conclude();
}

/** A computing child, its display and its timers. */
class Watch {
  readonly #process: ComputeProcess;
  readonly #display: ProgressDisplay;
  readonly #timers: NodeJS.Timeout[] = [];
  /** Seconds of silence at the last notice to the user; 0 before the first. */
  #told = 0;

  constructor(display: ProgressDisplay) {
    this.#display = display;
    const command = { script: process.argv[1]!, args: process.argv.slice(2), stdin: "inherit" } as const;
    this.#process = new ComputeProcess(command, {
      onProgress: (event) => {
        if (this.#process.stopped === null) display.onProgress(event);
      },
      onProgressEnd: () => display.stop(),
      onOut: (text) => {
        display.stop();
        writeOut(text);
      },
      onErr: (text) => this.#say(text),
    });
    this.#timers.push(setInterval(() => this.#mindSilence(), 1000 * PATIENCE_SECONDS));
  }

  /** Passes a signal on to the child, and says so the first time. */
  stop(signal: StopSignal): void {
    const isFirst = this.#process.stopped === null;
    this.#process.stop(signal);
    if (!isFirst) return;
    if (!this.#process.finishesStep) {
      this.#say("\nstopping\n");
      return;
    }
    this.#say("\nstopping after the current step; press Ctrl-C again to stop at once\n");
    const again = (): void => this.#say("still finishing the current step; press Ctrl-C to stop at once\n");
    this.#timers.push(setInterval(again, 1000 * PATIENCE_SECONDS));
  }

  /** Waits until the child has ended, and prints how. @returns the exit code */
  async conclude(): Promise<number> {
    const outcome = await this.#process.outcome;
    for (const timer of this.#timers) clearInterval(timer);
    this.#display.stop();
    return printOutcome(outcome);
  }

  #mindSilence(): void {
    const seconds = Math.round(this.#process.silentSeconds);
    if (seconds < this.#told) this.#told = 0;
    if (seconds - this.#told < SILENCE_SECONDS) return;
    this.#told = seconds;
    this.#say(
      `no message from the computing process (pid ${this.#process.pid}) for ${seconds} s; ` +
        "it is in a very long operation or stuck. Press Ctrl-C to end it.\n",
    );
  }

  #say(text: string): void {
    this.#display.stop();
    writeErr(text);
  }
}

/** Prints how a child ended, unless it exited by itself. @returns the exit code */
function printOutcome(outcome: Outcome): number {
  switch (outcome.kind) {
    case "exited":
      return outcome.code;
    case "failed":
      printFailure(outcome.failure);
      return outcome.exitCode;
    case "interrupted": {
      const { by, atOnce, hint } = outcome;
      const rest = atOnce || hint !== undefined ? "" : "; no partial output is left";
      writeErr(`\ninterrupted by ${by}${rest}\n`);
      if (hint !== undefined) writeErr(`hint: ${plainText(hint)}\n`);
      return EXIT_CODES[by];
    }
  }
}
