/**
 * A child process that computes: it runs the command line again, and sends output and progress as messages. The process
 * that starts one receives them, may ask it to stop, and learns how it ended.
 */
import { type ChildProcess, fork } from "node:child_process";
import type { ProgressEvent } from "../base/progress.ts";
import { GpruneError, reasonOf } from "../errors.ts";
import { computingProcess, memoryLimit } from "../io/files/machine.ts";
import { removeTemporary, type Temporary } from "../io/files/output_directory.ts";
import { isOutOfMemory } from "../io/files/own_program.ts";
import { holdsProgress } from "../io/run/directory.ts";
import { exitCodeOf, failureOf } from "./exit.ts";
import { type ChildMessage, childMessageSchema, type Failure, type StopSignal } from "./messages.ts";
import { CHILD_VARIABLE } from "./role.ts";

/** Last characters of the child's stderr, kept to find the cause of its death. */
const TAIL_LENGTH = 8192;

/**
 * Milliseconds after the first signal in which another one is taken for the same: timeout(1) sends one to its command
 * and one to the process group, as some terminals and schedulers do.
 */
const SAME_SIGNAL_MS = 1000;

/** Milliseconds in which a child that does not finish a step must end, even one in a long call. */
const GRACE_MS = 2000;

/** Milliseconds in which a child that has reported how its command ended must exit. */
const EXIT_MS = 5000;

/** Hint for a run whose progress is kept. */
const RESUME_HINT = "Saved progress is kept; continue with --resume.";

/** A command line to run. */
export interface ComputeCommand {
  /** Path of the program. */
  readonly script: string;
  readonly args: readonly string[];
  /** Options of Node; those of this process when absent. */
  readonly execArgv?: readonly string[];
  /** Standard input of the child; empty when absent. */
  readonly stdin?: "inherit" | "ignore";
  /** Monotonic time in milliseconds; `performance.now` when absent. */
  readonly clock?: () => number;
}

/** Receives output and progress of the child. */
export interface ComputeListener {
  onProgress(event: ProgressEvent): void;
  /** Called when the last stage has ended. */
  onProgressEnd(): void;
  /** Called with text for stdout. */
  onOut(text: string): void;
  /** Called with text for stderr. */
  onErr(text: string): void;
  /** Called every few seconds with resident memory in bytes. */
  onMemory?(rss: number): void;
}

/** How a computing process ended. */
export type Outcome =
  | { readonly kind: "exited"; readonly code: number }
  /** By a signal; `atOnce` when it was killed, else it ended by itself. */
  | {
      readonly kind: "interrupted";
      readonly by: StopSignal;
      readonly atOnce: boolean;
      readonly hint: string | undefined;
    }
  | { readonly kind: "failed"; readonly failure: Failure; readonly exitCode: number };

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child that computes one command. */
export class ComputeProcess {
  /** Resolves when the child has exited and all its messages were received. */
  readonly outcome: Promise<Outcome>;
  readonly #child: ChildProcess;
  readonly #listener: ComputeListener;
  /** Whether the command can be resumed. */
  readonly #canResume: boolean;
  /** The directory of its progress; null before there is one. */
  #directory: string | null = null;
  readonly #temporaries = new Map<string, Temporary>();
  readonly #clock: () => number;
  #stopped: StopSignal | null = null;
  /** Time of the first signal, by the clock. */
  #stoppedAt = 0;
  #failure: Failure | null = null;
  /** Whether the child ends by itself after a step. */
  #finishesStep = false;
  #isDone = false;
  /** Whether it was killed because it did not exit once it had reported how its command ended. */
  #isOverdue = false;
  #tail = "";
  #rss = 0;
  #heard = performance.now();

  constructor(
    {
      script,
      args,
      execArgv = process.execArgv,
      stdin = "ignore",
      clock = () => performance.now(),
    }: ComputeCommand,
    listener: ComputeListener,
  ) {
    this.#listener = listener;
    this.#clock = clock;
    this.#canResume = args[0] === "prune" || args.some((word) => /^--resume(=|$)/.test(word));
    const { env, ...options } = computingProcess(execArgv);
    this.#child = fork(script, args, {
      ...options,
      env: { ...env, [CHILD_VARIABLE]: "1" },
      stdio: [stdin, "ignore", "pipe", "ipc"],
    });
    this.#child.on("message", (message) => this.#receive(childMessageSchema.parse(message)));
    // A child that could not be started may have no stderr.
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#tail = (this.#tail + text).slice(-TAIL_LENGTH);
      listener.onErr(text);
    });
    this.outcome = ended(this.#child).then(
      (ending) => this.#conclude(ending),
      (cause: unknown) => ({ kind: "failed", ...failureOf(notStarted(cause)) }),
    );
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The first signal that was passed on; null before. */
  get stopped(): StopSignal | null {
    return this.#stopped;
  }

  /** Whether it will end by itself after the current step, once it is told to stop. */
  get finishesStep(): boolean {
    return this.#finishesStep;
  }

  /** Seconds since its last message. */
  get silentSeconds(): number {
    return (performance.now() - this.#heard) / 1000;
  }

  /**
   * The first call asks the child to stop where it can be resumed, and kills one that does not finish steps after
   * {@link GRACE_MS}; a later one kills it, except within {@link SAME_SIGNAL_MS}.
   */
  stop(signal: StopSignal): void {
    if (this.#stopped !== null) {
      if (this.#clock() - this.#stoppedAt >= SAME_SIGNAL_MS) this.#child.kill("SIGKILL");
      return;
    }
    this.#stopped = signal;
    this.#stoppedAt = this.#clock();
    if (this.#child.connected) this.#child.send({ type: "stop", signal }, () => {});
    const kill = (): unknown => this.#finishesStep || this.#child.kill("SIGKILL");
    setTimeout(kill, GRACE_MS).unref();
  }

  #receive(message: ChildMessage): void {
    this.#heard = performance.now();
    switch (message.type) {
      case "progress":
        this.#listener.onProgress(message.event);
        break;
      case "progress-end":
        this.#listener.onProgressEnd();
        break;
      case "out":
        this.#listener.onOut(message.text);
        break;
      case "err":
        this.#listener.onErr(message.text);
        break;
      case "failed":
        this.#failure = message.failure;
        this.#mindExit();
        break;
      case "done":
        this.#isDone = true;
        this.#mindExit();
        break;
      case "alive":
        this.#rss = message.rss;
        this.#listener.onMemory?.(message.rss);
        break;
      case "stops":
        this.#finishesStep = true;
        break;
      case "keeps":
        this.#directory = message.directory;
        break;
      case "temporary":
        if (message.live) this.#temporaries.set(message.path, message);
        else this.#temporaries.delete(message.path);
        break;
      default:
        message satisfies never;
    }
  }

  /** Kills the child if it does not exit by itself. V8's threads may keep it from that (`compileOnMainThread`). */
  #mindExit(): void {
    const kill = (): void => {
      this.#isOverdue = this.#child.kill("SIGKILL");
    };
    setTimeout(kill, EXIT_MS).unref();
  }

  async #conclude({ code, signal }: Ending): Promise<Outcome> {
    for (const temporary of this.#temporaries.values()) removeTemporary(temporary);
    const [by, failure] = [this.#stopped, this.#failure];
    if (by !== null && code !== 0 && (signal !== null || failure?.code === "INTERRUPTED")) {
      const atOnce = signal !== null && failure?.code !== "INTERRUPTED";
      return {
        kind: "interrupted",
        by,
        atOnce,
        hint: atOnce ? await this.#resumeHint() : failure?.hint,
      };
    }
    // After it has reported a failure, a signal may still end it on its way out, while ONNX Runtime's threads run.
    if (failure !== null) return { kind: "failed", failure, exitCode: code || exitCodeOf(failure) };
    if (this.#isDone && (code === 0 || this.#isOverdue)) return { kind: "exited", code: 0 };
    return { kind: "failed", ...failureOf(this.#death({ code, signal }, await this.#resumeHint())) };
  }

  /** Hint for a command that was killed; undefined when it has kept nothing that it could resume from. */
  async #resumeHint(): Promise<string | undefined> {
    const directory = this.#directory;
    if (!this.#canResume || directory === null) return undefined;
    return (await holdsProgress(directory).catch(() => false)) ? RESUME_HINT : undefined;
  }

  /** Error of a child that ended without reporting a failure. */
  #death({ code, signal }: Ending, resumeHint: string | undefined): GpruneError {
    const how = signal === null ? `exit code ${code}` : signal;
    const resume = resumeHint === undefined ? "" : ` ${resumeHint}`;
    const gotNone = isOutOfMemory(this.#tail);
    if (signal === "SIGKILL" || signal === "SIGTERM" || gotNone) {
      const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
      const used = this.#rss > 0 ? `; it last used ${gib(this.#rss)} of ${gib(memoryLimit())}` : "";
      const reason = gotNone ? "it could not allocate memory" : "probably because memory ran out";
      return new GpruneError("OUT_OF_MEMORY", `the computing process was ended by ${how}, ${reason}${used}`, {
        hint: `Use fewer or shorter windows, close other programs, or use a larger machine.${resume}`,
      });
    }
    return new GpruneError("INTERNAL", `internal: the computing process ended by ${how}.${resume}`);
  }
}

function notStarted(cause: unknown): GpruneError {
  const reason = reasonOf(cause);
  return new GpruneError("OUT_OF_MEMORY", `the computing process could not be started: ${reason}`, {
    hint: "Close other programs; the machine may be out of memory or processes.",
    cause,
  });
}

/** Resolves when the child has exited and all its messages were received. @throws the error of a failed start */
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
