/**
 * A worker takes units from the queue, has a child process compute them, and records their results. When it stops or
 * dies, its unit goes to another worker. The first record of a unit's result stays; later ones are dropped.
 */
import { setInterval, setTimeout } from "node:timers/promises";
import { badArgument } from "../base/arguments.ts";
import { type ErrorCode, GpruneError, hasCode, type PlainError } from "../errors.ts";
import { openStore } from "../io/store/open_store.ts";
import { type Store, storeIdentity } from "../io/store/store.ts";
import { patientStore } from "./patient_store.ts";
import { HopelessJob, JobGivenBack, JobWorker, type JobWorkerOptions } from "./queue.ts";
import {
  describeUnit,
  formatResult,
  parseJob,
  parseResult,
  queueName,
  recordName,
  type UnitJob,
  type UnitResult,
} from "./unit.ts";
import { formatFailure } from "./unit_messages.ts";
import { UnitProcess } from "./unit_process.ts";

/** Events of a worker's life. */
export type WorkerEvent =
  | { readonly event: "listening"; readonly queue: string }
  /** The store was emptied; the worker listens at another queue from now on. */
  | { readonly event: "moved" }
  /** The queue's server is away, or refuses; the worker tries again until it is told to stop. */
  | { readonly event: "waiting"; readonly reason: string }
  | {
      readonly event: "started";
      readonly unit: string;
      readonly what: string;
      readonly pid: number | undefined;
    }
  | { readonly event: "finished"; readonly unit: string; readonly seconds: number; readonly first: boolean }
  /** Another worker has recorded the result already. */
  | { readonly event: "known"; readonly unit: string }
  | { readonly event: "failed"; readonly unit: string; readonly reason: string }
  | { readonly event: "dropped"; readonly unit: string };

/** Queue, store and limits of a worker. */
export interface WorkerSettings {
  /** `redis://HOST[:PORT]` or `postgres://HOST[:PORT]/DATABASE` */
  readonly redis: string;
  /** A directory, or `s3://BUCKET/PREFIX`: the store of the runs. */
  readonly store: string;
  /** Path of the model on this machine; the run's path or hub address when absent. */
  readonly model?: string | undefined;
  /** Threads of one operator. */
  readonly threads?: number | undefined;
  /** Ends the worker; its unit goes to another one. */
  readonly signal?: AbortSignal | undefined;
  /** Awaited before the worker goes on. */
  readonly onEvent?: (event: WorkerEvent) => unknown;
  /** Seconds of silence after which this worker's unit goes to another one. 30 when absent. */
  readonly lockSeconds?: number | undefined;
  /** Seconds that a unit may take; six hours when absent. */
  readonly unitSeconds?: number | undefined;
}

/** How often the store's identity is checked within `lockSeconds`. */
const STORE_LOOKS = 6;

/**
 * Default of `unitSeconds`: refitting one layer of a model of 70 billion parameters on a million tokens takes a machine
 * of 16 cores more than two hours.
 */
const UNIT_SECONDS = 6 * 3600;

/** Errors of opening the model that make this machine unfit for any unit of the queue. */
const UNFIT: ReadonlySet<ErrorCode> = new Set(["MODEL_DIFFERS", "NOT_FOUND", "FORBIDDEN", "UNSUPPORTED"]);
/** Hint beside them: the worker cannot know whether a run still waits for the unit. */
const LEFT_OVER =
  "A unit in the queue needs it. If its run is over, empty the store: workers and runs then have another queue.";
/** Transient errors, which another attempt may not have. */
const TRANSIENT: ReadonlySet<ErrorCode> = new Set([
  "STORE_FAILED",
  "OUTPUT_FAILED",
  "OUT_OF_MEMORY",
  "NETWORK",
  "BAD_FILE",
  "NOT_FOUND",
  "FORBIDDEN",
  "INTERNAL",
]);

/** Milliseconds between two attempts at a server that is away when the worker changes queues. */
const RETRY_MS = 1000;

/**
 * Computes units until the signal is aborted. If the queue's server is unreachable then, its client goes on trying to
 * reconnect, which keeps the process alive.
 * @throws GpruneError BAD_ARGUMENT for times that are not above 0; QUEUE_FAILED and STORE_FAILED when they cannot be
 *   reached at the start; MODEL_DIFFERS and NOT_FOUND when this machine does not have the model that a run prunes
 */
export async function runWorker(settings: WorkerSettings): Promise<void> {
  const { lockSeconds = 1, unitSeconds = 1 } = settings;
  for (const [name, seconds] of Object.entries({ lockSeconds, unitSeconds }))
    if (!(seconds > 0)) throw badArgument(name, "a number of seconds above 0", seconds);
  const store = patientStore(await openStore(settings.store));
  let start = (options: JobWorkerOptions): Promise<JobWorker | null> => JobWorker.start(options);
  while ((await listen(settings, store, start)) === "moved") {
    await settings.onEvent?.({ event: "moved" });
    start = (options) => startPatiently(options, settings);
  }
}

/** Takes jobs as soon as the server answers. @returns null when the signal is aborted before */
async function startPatiently(
  options: JobWorkerOptions,
  { signal, onEvent }: Pick<WorkerSettings, "signal" | "onEvent">,
): Promise<JobWorker | null> {
  let reported = "";
  for (;;) {
    try {
      return await JobWorker.start(options);
    } catch (error) {
      if (!hasCode(error, "QUEUE_FAILED")) throw error;
      const { message: reason } = error;
      if (reason !== reported) await onEvent?.({ event: "waiting", reason });
      reported = reason;
      await setTimeout(RETRY_MS, undefined, { signal }).catch(() => {});
      if (signal?.aborted) return null;
    }
  }
}

/**
 * Serves the queue of a store until the signal is aborted, or the store was emptied and so has another queue.
 * @param start - begins to take jobs; null when the signal was aborted before
 */
async function listen(
  settings: WorkerSettings,
  store: Store,
  start: (options: JobWorkerOptions) => Promise<JobWorker | null>,
): Promise<"aborted" | "moved"> {
  const { redis, threads, signal, lockSeconds = 30 } = settings;
  const identity = await storeIdentity(store);
  const name = queueName(identity, threads);
  const worker = new UnitWorker(settings, { store, queue: name });
  const compute = (key: string, data: unknown): Promise<void> => worker.compute(key, data);
  const queue = await start({ redis, name, lockSeconds, compute });
  if (queue === null) return "aborted";
  const closing = new AbortController();
  const looks = setInterval((1000 * lockSeconds) / STORE_LOOKS, undefined, { signal: closing.signal });
  const moved = async (): Promise<"moved"> => {
    // A store that does not answer counts as unchanged.
    for await (const _ of looks) if ((await storeIdentity(store).catch(() => identity)) !== identity) break;
    return "moved";
  };
  try {
    await settings.onEvent?.({ event: "listening", queue: name });
    return await Promise.race([worker.ended(signal), moved()]);
  } finally {
    closing.abort();
    await queue.close(() => worker.stop());
  }
}

/** Computes the jobs of one queue. */
class UnitWorker {
  readonly #settings: WorkerSettings;
  readonly #store: Store;
  readonly #queue: string;
  readonly #process: UnitProcess;
  readonly #unfit: Promise<never>;
  #refuse: (error: GpruneError) => void = () => {};
  #stopping = false;

  constructor(settings: WorkerSettings, { store, queue }: { readonly store: Store; readonly queue: string }) {
    this.#settings = settings;
    this.#store = store;
    this.#queue = queue;
    const { model, threads } = settings;
    this.#process = new UnitProcess({ store: settings.store, model, threads });
    this.#unfit = new Promise((_, reject) => {
      this.#refuse = (error) => {
        this.#stopping = true;
        reject(error);
      };
    });
    // It may be rejected before `ended` is called.
    this.#unfit.catch(() => {});
  }

  /** Resolves when the signal is aborted. @throws GpruneError when this machine turns out to be unfit */
  async ended(signal: AbortSignal | undefined): Promise<"aborted"> {
    const aborted = new Promise<"aborted">((resolve) => {
      if (signal?.aborted) resolve("aborted");
      else signal?.addEventListener("abort", () => resolve("aborted"), { once: true });
    });
    return await Promise.race([aborted, this.#unfit]);
  }

  /** Ends the child; its unit is given back. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#process.stop();
  }

  /** Computes one unit and records its result. @throws the error that the queue gets */
  async compute(key: string, data: unknown): Promise<void> {
    if (this.#stopping) throw new JobGivenBack();
    const job = parseOrRefuse(key, data, this.#queue);
    let failure: PlainError;
    let atModel = false;
    try {
      if (await this.#isKnown(key)) return await this.#tell({ event: "known", unit: key });
      if (this.#stopping) throw new JobGivenBack();
      this.#process.start();
      await this.#tell({ event: "started", unit: key, what: describeUnit(job.unit), pid: this.#process.pid });
      const started = performance.now();
      const answer = await this.#process.compute(job, this.#settings.unitSeconds ?? UNIT_SECONDS);
      if (answer.type === "done") return await this.#record(key, answer.objects, started);
      ({ failure, atModel } = answer);
    } catch (error) {
      if (error instanceof JobGivenBack) throw error;
      failure = error instanceof GpruneError ? error.plain : { code: "INTERNAL", message: String(error) };
    }
    throw await this.#errorFor(key, failure, atModel);
  }

  /** Records a result. @param started - when its computation began, by `performance.now()` */
  async #record(key: string, objects: UnitResult, started: number): Promise<void> {
    const first = await this.#store.claim(recordName(key), formatResult(key, objects));
    const seconds = (performance.now() - started) / 1000;
    await this.#tell({ event: "finished", unit: key, seconds, first });
  }

  /** Error that the queue gets for a failure. @param atModel - whether the model could not be opened */
  async #errorFor(key: string, failure: PlainError, atModel: boolean): Promise<Error> {
    const { code, message } = failure;
    if (this.#stopping || (atModel && UNFIT.has(code))) {
      await this.#tell({ event: "dropped", unit: key });
      const hint = `${failure.hint ?? ""} ${LEFT_OVER}`.trim();
      if (!this.#stopping) this.#refuse(GpruneError.fromPlain({ ...failure, hint }));
      return new JobGivenBack();
    }
    await this.#tell({ event: "failed", unit: key, reason: message });
    const mayPass = code === "UNIT_FAILED" || TRANSIENT.has(code);
    return mayPass ? new Error(formatFailure(failure)) : new HopelessJob(formatFailure(failure));
  }

  /** Whether the unit's result is recorded. A damaged record is removed: it would block the name. */
  async #isKnown(key: string): Promise<boolean> {
    const record = await this.#store.record(recordName(key));
    if (record === null) return false;
    const isResult = parseResult(record, key) !== null;
    if (!isResult) await this.#store.forget(recordName(key));
    return isResult;
  }

  async #tell(event: WorkerEvent): Promise<void> {
    await this.#settings.onEvent?.(event);
  }
}

/** Parses a job. @throws HopelessJob for one that is not a unit */
function parseOrRefuse(key: string, data: unknown, queue: string): UnitJob {
  try {
    return parseJob(data, key, queue);
  } catch (error) {
    const { code, message } = error as GpruneError;
    throw new HopelessJob(formatFailure({ code, message }));
  }
}
