/** `gprune worker` */
import { runWorker, type WorkerEvent } from "../workers/worker.ts";
import { EXIT_CODES, onSignals } from "./exit.ts";
import { printJsonLine, say } from "./terminal.ts";

interface WorkerOptions {
  readonly redis: string;
  readonly store: string;
  readonly model?: string;
  readonly threads?: number;
  readonly unitLimit?: number;
  readonly json?: boolean;
}

/** Computes units until a signal comes, and then exits with 0. A second signal exits at once. */
export async function workerAction(options: WorkerOptions): Promise<void> {
  const end = new AbortController();
  let isComputing = false;
  onSignals((signal) => {
    if (end.signal.aborted) process.exit(EXIT_CODES[signal]);
    say(isComputing ? "stopping; the current unit goes back to the queue" : "stopping");
    end.abort();
  });
  const { redis, store, model, threads, unitLimit: unitSeconds } = options;
  await runWorker({
    redis,
    store,
    model,
    threads,
    unitSeconds,
    signal: end.signal,
    onEvent: (event) => {
      isComputing = event.event === "started";
      if (options.json) printJsonLine(event);
      else say(lineOf(event));
    },
  });
  // The queue's client would go on trying to reach a server that is away.
  process.exit();
}

function lineOf(event: WorkerEvent): string {
  switch (event.event) {
    case "listening":
      return `listening at ${event.queue}; press Ctrl-C to stop`;
    case "moved":
      return "the store was emptied; listening at the new queue of its runs";
    case "waiting":
      return `waiting for the queue's server: ${event.reason}`;
    case "started":
      return `${nameOf(event.unit)} started: ${event.what}`;
    case "finished":
      return `${nameOf(event.unit)} finished in ${event.seconds.toFixed(1)} s${event.first ? "" : ", after another worker"}`;
    case "known":
      return `${nameOf(event.unit)} already has a result`;
    case "failed":
      return `${nameOf(event.unit)} failed: ${event.reason}`;
    case "dropped":
      return `${nameOf(event.unit)} returned to the queue`;
  }
}

function nameOf(unit: string): string {
  return `unit ${unit.slice(0, 12)}`;
}
