/**
 * The computing process of a command. It has no terminal: output and progress go to its parent as messages, and the
 * parent tells it to stop. When the parent is gone it stops by itself.
 */
import { GpruneError, hasCode } from "../errors.ts";
import { onTemporary, removeTemporaries } from "../io/files/output_directory.ts";
import { onClaimedDirectory } from "../io/run/directory.ts";
import { EXIT_CODES, failureOf } from "./exit.ts";
import { runCleanups } from "./interrupt.ts";
import { type ChildMessage, parentMessageSchema, type StopSignal } from "./messages.ts";
import { setOutlet } from "./terminal.ts";

/** Seconds between two signs of life, while the event loop is not blocked. */
const ALIVE_SECONDS = 5;

let gentle: AbortController | null = null;
let stopped: StopSignal | null = null;

/**
 * Signal that is aborted when the command is to stop. A command that has called this is left to end by itself; any
 * other is ended at once.
 */
export function stopSignal(): AbortSignal {
  if (gentle === null) {
    gentle = new AbortController();
    send({ type: "stops" });
  }
  if (stopped !== null) gentle.abort(stopped);
  return gentle.signal;
}

/** Runs a command, and sends its output, progress and failure to the parent. */
export async function computeForParent(action: () => Promise<void>): Promise<void> {
  setOutlet({
    out: (text) => send({ type: "out", text }),
    err: (text) => send({ type: "err", text }),
    progress: (event) => send({ type: "progress", event }),
    progressEnd: () => send({ type: "progress-end" }),
  });
  onTemporary((temporary, live) => send({ type: "temporary", live, ...temporary }));
  onClaimedDirectory((directory) => send({ type: "keeps", directory }));
  process.on("message", (message) => stop(parentMessageSchema.parse(message).signal));
  process.on("disconnect", () => stop("SIGTERM"));
  // Ctrl-C reaches the whole group of processes; the parent decides what it means.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => stop("SIGTERM"));
  process.on("uncaughtException", (error) => leave(error));
  // A parent that ended while this process started is not heard of any more.
  if (!process.connected) stop("SIGTERM");
  setInterval(() => send({ type: "alive", rss: process.memoryUsage.rss() }), 1000 * ALIVE_SECONDS).unref();
  try {
    await action();
    process.removeAllListeners("disconnect");
    await allSent();
    if (process.connected) process.disconnect();
  } catch (error) {
    if (hasCode(error, "INTERRUPTED") && stopped !== null) {
      leave(error, EXIT_CODES[stopped]);
    } else leave(error);
  }
}

function stop(signal: StopSignal): void {
  if (stopped !== null) return;
  stopped = signal;
  if (gentle !== null) gentle.abort(signal);
  else leave(new GpruneError("INTERRUPTED", "stopped"), EXIT_CODES[signal]);
}

/** Removes unfinished output, reports the failure, and exits once the parent has got it. */
function leave(error: unknown, code?: number): void {
  runCleanups();
  removeTemporaries();
  const { failure, exitCode } = failureOf(error);
  const exit = (): never => process.exit(code ?? exitCode);
  send({ type: "failed", failure }, exit);
}

/** Resolves when all messages have been sent; closing the channel earlier would drop those on their way. */
function allSent(): Promise<void> {
  return new Promise((resolve) => send({ type: "done" }, resolve));
}

/** Sends a message to the parent. @param then - called once it is sent, or the parent is gone */
function send(message: ChildMessage, then: () => void = () => {}): void {
  if (process.connected) process.send!(message, () => then());
  else then();
}
