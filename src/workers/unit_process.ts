/**
 * The child process that computes a worker's units, one at a time. ONNX Runtime blocks the event loop while it
 * computes, and may crash: the worker itself stays free to renew its lock and to say what happened.
 */
import { type ChildProcess, fork } from "node:child_process";
import { GpruneError } from "../errors.ts";
import { computingProcess } from "../io/files/machine.ts";
import { ownProgram } from "../io/files/own_program.ts";
import { removeScratch, scratchPath } from "../io/files/scratch.ts";
import type { UnitJob } from "./unit.ts";
import type { ChildSettings, UnitAnswer } from "./unit_messages.ts";

/** Longest delay of a timer in milliseconds, 25 days; with more it would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A child that is started when there is something to compute, and again after it has died, until `stop`. */
export class UnitProcess {
  readonly #settings: Omit<ChildSettings, "scratch">;
  #child: ChildProcess | null = null;
  #isStopped = false;

  constructor(settings: Omit<ChildSettings, "scratch">) {
    this.#settings = settings;
  }

  /** Process id of the child, while there is one. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the child unless it runs or `stop` was called. */
  start(): void {
    if (this.#child !== null || this.#isStopped) return;
    const { path, nodeOptions } = ownProgram("unit_child", import.meta.url);
    const scratch = scratchPath();
    const settings: ChildSettings = { ...this.#settings, scratch };
    const child = fork(path, [JSON.stringify(settings)], {
      ...computingProcess(nodeOptions),
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#child = child;
    const forget = (): void => {
      if (this.#child === child) this.#child = null;
    };
    child.once("exit", () => {
      // It may have died in the middle of a transfer.
      removeScratch(scratch);
      forget();
    });
    // A child that could not be started emits no exit event.
    child.on("error", () => {
      if (child.pid === undefined) forget();
    });
  }

  /**
   * Has a unit computed.
   * @param seconds - after which the child is killed
   * @throws GpruneError UNIT_FAILED when the process ends before it answers, or has been told to stop
   */
  async compute(job: UnitJob, seconds: number): Promise<UnitAnswer> {
    this.start();
    const child = this.#child;
    if (child === null) throw new GpruneError("UNIT_FAILED", "the computing process was told to stop");
    let late = false;
    const deadline = setTimeout(
      () => {
        late = true;
        child.kill("SIGKILL");
      },
      Math.min(1000 * seconds, MAX_TIMER_MS),
    );
    try {
      return await new Promise<UnitAnswer>((resolve, reject) => {
        const onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
          const how = late ? `the time limit of ${seconds} s` : (signal ?? `exit code ${code}`);
          reject(new GpruneError("UNIT_FAILED", `the computing process was ended by ${how}`));
        };
        const onError = (error: Error | null): void => {
          // When sending fails after the start, the exit event says why.
          if (error !== null && child.pid === undefined) reject(error);
        };
        child.once("exit", onExit).once("error", onError);
        child.once("message", (answer) => {
          child.off("exit", onExit).off("error", onError);
          resolve(answer as UnitAnswer);
        });
        child.send(job, onError);
      });
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Kills the child, and starts no other. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGKILL");
    await gone;
  }
}
