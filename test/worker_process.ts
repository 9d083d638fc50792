/**
 * Program that runs a worker, and prints its events on stdout, one line of JSON each. It waits at the first event of
 * kind `hold` until it gets input on stdin, and exits after SIGTERM.
 */
import { once } from "node:events";
import type { WorkerSettings } from "../src/workers/index.ts";
import { compiledWorkers } from "./compiled.ts";

/** Settings of the process, given as JSON in its only argument. */
export interface WorkerProcessSettings extends WorkerSettings {
  readonly hold?: string;
}

const { runWorker } = await compiledWorkers();
const { hold, ...settings } = JSON.parse(process.argv[2]!) as WorkerProcessSettings;
let holds = hold;
const end = new AbortController();
process.once("SIGTERM", () => end.abort());
await runWorker({
  ...settings,
  signal: end.signal,
  onEvent: async (event) => {
    process.stdout.write(`${JSON.stringify(event)}\n`);
    if (event.event !== holds) return;
    holds = undefined;
    await once(process.stdin, "data");
  },
});
