/**
 * Runs on several machines: `prune(config, { openPasses: distributed({ redis, store }) })` has its passes over texts
 * computed by whoever runs `runWorker({ redis, store })`, and writes the bytes that it writes alone.
 *
 * @packageDocumentation
 */
export { type Distribution, distributed } from "./remote_passes.ts";
export { runWorker, type WorkerEvent, type WorkerSettings } from "./worker.ts";
