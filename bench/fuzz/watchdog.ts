/** Kills the process when an input hangs, which its blocked main thread cannot do. */
import { Worker } from "node:worker_threads";

/** Milliseconds after which an input counts as hanging. */
const PATIENCE = 120_000;

/** Program of a thread that kills the process when the counter stands still. */
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

/** Watches a counter that `next` advances with every input. */
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
