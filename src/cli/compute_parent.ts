/**
 * The process in front of the user. It starts the command once more as a child that computes, draws its progress, prints
 * what it says, and answers signals at once: the first one asks the child to stop where it can be resumed, the second one
 * ends it. It restarts nothing.
 */
import { type ChildProcess, fork } from "node:child_process";
import { GpruneError } from "../errors.ts";
import { memoryLimit } from "../io/machine.ts";
import { removeTemporary, type Temporary } from "../io/output_directory.ts";
import type { ProgressEvent } from "../progress.ts";
import type { ProgressDisplay } from "./display.ts";
import { EXIT_CODES, failureOf, onSignals, printFailure } from "./exit.ts";
import {
  type ChildMessage,
  childMessageSchema,
  type DistantEvent,
  type Failure,
  type StopSignal,
} from "./messages.ts";
import { loudDisplay } from "./progress.ts";
import { CHILD_VARIABLE } from "./role.ts";
import { plainText } from "./terminal.ts";

/** Seconds without a sign of life after which the user is told; one product of large matrices takes less. */
const SILENCE_SECONDS = 300;
/** Seconds after which a child that is to stop gets mentioned again. */
const PATIENCE_SECONDS = 15;
/** Characters of the child's stderr that are looked at when it has died. */
const TAIL_LENGTH = 8192;
/** What V8 and C++ say when they get no memory. */
const NO_MEMORY =
  /out of memory|bad_alloc|ERR_WORKER_OUT_OF_MEMORY|Failed to allocate memory|Array buffer allocation/i;

/** Whether the command keeps what it has computed. */
const CAN_RESUME = process.argv[2] === "prune" || process.argv.some((word) => /^--resume(=|$)/.test(word));

/** How a child ended. */
interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Runs this process's own command line in a child, and sets the exit code. */
export async function computeInChild(): Promise<void> {
  const child = fork(process.argv[1]!, process.argv.slice(2), {
    env: { ...process.env, [CHILD_VARIABLE]: "1" },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  const watch = new Watch(child, await loudDisplay());
  onSignals((signal) => watch.stop(signal));
  process.exitCode = watch.conclude(await ended(child));
}

/** Resolves when the child is gone and all it sent has been received. */
async function ended(child: ChildProcess): Promise<Ending> {
  const closed = new Promise<Ending>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  const disconnected = new Promise<void>((resolve) => {
    child.once("disconnect", resolve);
    child.once("error", () => resolve());
  });
  await disconnected;
  return closed;
}

class Watch {
  readonly #child: ChildProcess;
  readonly #display: ProgressDisplay;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #temporaries = new Map<string, Temporary>();
  #stopped: StopSignal | null = null;
  #failure: Failure | null = null;
  #tail = "";
  #rss = 0;
  #heard = performance.now();

  constructor(child: ChildProcess, display: ProgressDisplay) {
    this.#child = child;
    this.#display = display;
    child.on("message", (message) => this.#receive(childMessageSchema.parse(message)));
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#tail = (this.#tail + text).slice(-TAIL_LENGTH);
      this.#say(text);
    });
    this.#timers.push(setInterval(() => this.#mindSilence(), 1000 * PATIENCE_SECONDS));
  }

  /** Answers a signal. */
  stop(signal: StopSignal): void {
    if (this.#stopped !== null) {
      this.#child.kill("SIGKILL");
      return;
    }
    this.#stopped = signal;
    this.#say("\nstopping at the end of this step; Ctrl-C again stops at once\n");
    const again = (): void => this.#say("still finishing a step; Ctrl-C stops at once\n");
    this.#timers.push(setInterval(again, 1000 * PATIENCE_SECONDS));
    if (this.#child.connected) this.#child.send({ type: "stop", signal }, () => {});
  }

  /** Says how it ended. @returns the exit code */
  conclude({ code, signal }: Ending): number {
    for (const timer of this.#timers) clearInterval(timer);
    this.#display.stop();
    for (const temporary of this.#temporaries.values()) removeTemporary(temporary);
    if (this.#stopped !== null && code !== 0 && (signal !== null || this.#failure?.code === "INTERRUPTED")) {
      this.#sayInterrupted(this.#stopped, signal !== null);
      return EXIT_CODES[this.#stopped];
    }
    if (this.#failure !== null) printFailure(this.#failure);
    else if (code !== 0) {
      const { failure, exitCode } = failureOf(this.#death(code, signal));
      printFailure(failure);
      return exitCode;
    }
    return code ?? 2;
  }

  #receive(message: ChildMessage): void {
    this.#heard = performance.now();
    switch (message.type) {
      case "progress":
        if (this.#stopped === null) this.#display.onProgress(withoutUndefined(message.event));
        break;
      case "progress-end":
        this.#display.stop();
        break;
      case "out":
        this.#display.stop();
        process.stdout.write(message.text);
        break;
      case "err":
        this.#say(message.text);
        break;
      case "failed":
        this.#failure = message.failure;
        break;
      case "alive":
        this.#rss = message.rss;
        break;
      case "temporary":
        if (message.live) this.#temporaries.set(message.path, message);
        else this.#temporaries.delete(message.path);
        break;
      default:
        message satisfies never;
    }
  }

  /** The error of a child that did not say why it ended. */
  #death(code: number | null, signal: NodeJS.Signals | null): GpruneError {
    const how = signal === null ? `exit code ${code}` : signal;
    const resume = CAN_RESUME ? " What was computed is kept; --resume goes on with it." : "";
    if (signal === "SIGKILL" || signal === "SIGTERM" || NO_MEMORY.test(this.#tail)) {
      const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
      const used =
        this.#rss > 0 ? `; it had ${gib(this.#rss)} of ${gib(memoryLimit())} when last heard of` : "";
      const reason = NO_MEMORY.test(this.#tail) ? "it got no more memory" : "most likely memory ran out";
      return new GpruneError("OUT_OF_MEMORY", `the computing process was ended by ${how}, ${reason}${used}`, {
        hint: `Give fewer or shorter windows, close other programs, or use a larger machine.${resume}`,
      });
    }
    return new GpruneError("INTERNAL", `internal: the computing process ended by ${how}.${resume}`);
  }

  #sayInterrupted(by: StopSignal, atOnce: boolean): void {
    const hint =
      atOnce && CAN_RESUME ? "What was computed is kept; --resume goes on with it." : this.#failure?.hint;
    const rest = atOnce || hint !== undefined ? "" : "; nothing unfinished is left behind";
    process.stderr.write(`\ninterrupted by ${by}${rest}\n`);
    if (hint !== undefined) process.stderr.write(`hint: ${plainText(hint)}\n`);
  }

  #mindSilence(): void {
    const seconds = Math.round((performance.now() - this.#heard) / 1000);
    if (seconds < SILENCE_SECONDS) return;
    this.#heard = performance.now();
    this.#say(
      `no sign of life from the computing process ${this.#child.pid} for ${seconds} s; ` +
        "it is in one very long operation, or stuck. Ctrl-C ends it.\n",
    );
  }

  #say(text: string): void {
    this.#display.stop();
    process.stderr.write(text);
  }
}

function withoutUndefined({ detail, ...event }: DistantEvent): ProgressEvent {
  return detail === undefined ? event : { ...event, detail };
}
