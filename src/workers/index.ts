/**
 * Runs on several machines: `prune(config, { openPasses: distributed({ redis, store }) })` has its passes over texts
 * computed by the processes that run `runWorker({ redis, store })`, and writes the same bytes as a run on one machine.
 *
 * @packageDocumentation
 */
export { type Distribution, distributed } from "./remote_passes.ts";
export { runWorker, type WorkerEvent, type WorkerSettings } from "./worker.ts";
