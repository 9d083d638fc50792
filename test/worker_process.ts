/**
 * A worker in a process of its own that says on stdout what happens to it, a JSON line each. It waits at the first
 * event of the kind `hold` until there is something on stdin, and ends by itself after SIGTERM.
 */
import { once } from "node:events";
import { runWorker, type WorkerSettings } from "../src/workers/index.ts";

/** What the process is started with, as JSON in its only argument. */
export interface WorkerProcessSettings extends WorkerSettings {
  readonly hold?: string;
}

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
