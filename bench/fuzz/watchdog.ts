/** Ends the process when an input keeps it busy for good, which the process itself cannot do. */
import { Worker } from "node:worker_threads";

/** Milliseconds after which an input hangs for good. */
const PATIENCE = 120_000;

/** Runs beside the main thread: when its counter stands still, says so and ends the process. */
const PROGRAM = `
const { workerData } = require("node:worker_threads");
const { counter, patience } = workerData;
let seen = -1;
let since = Date.now();
setInterval(() => {
  const now = Atomics.load(counter, 0);
  if (now !== seen) [seen, since] = [now, Date.now()];
  if (Date.now() - since < patience) return;
  require("node:fs").writeSync(2, "hang: input " + now + " takes more than " + patience + " ms\\n");
  process.kill(process.pid, "SIGKILL");
}, 500);`;

/** Watches a counter that the caller moves on with every input. */
export class Watchdog {
  readonly #counter = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker: Worker;

  constructor() {
    const workerData = { counter: this.#counter, patience: PATIENCE };
    this.#worker = new Worker(PROGRAM, { eval: true, workerData, execArgv: [] });
    this.#worker.unref();
  }

  next(): void {
    Atomics.add(this.#counter, 0, 1);
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
