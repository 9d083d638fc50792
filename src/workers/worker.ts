/**
 * A worker: takes units from the queue, has a child compute them, and records what they gave. Whatever happens to it,
 * its unit goes to another one; the first record of a unit's result stays, and others are not looked at.
 */
import { setInterval } from "node:timers/promises";
import { type ErrorCode, GpruneError, type PlainError } from "../errors.ts";
import { openStore } from "../io/store/open_store.ts";
import { type Store, storeIdentity } from "../io/store/store.ts";
import { patientStore } from "./patient_store.ts";
import { HopelessJob, JobGivenBack, JobWorker } from "./queue.ts";
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

/** What happens to a worker. */
export type WorkerEvent =
  | { readonly event: "listening"; readonly queue: string }
  /** The store was emptied; the worker listens at another queue from now on. */
  | { readonly event: "moved" }
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

/** Where a worker gets its units and objects from, and what it may use to compute them. */
export interface WorkerSettings {
  /** `redis://HOST[:PORT]` or `postgres://HOST[:PORT]/DATABASE` */
  readonly redis: string;
  /** A directory, or `s3://BUCKET/PREFIX`: the same place as that of the runs. */
  readonly store: string;
  /** Where the model lies on this machine; where the run has it when absent. */
  readonly model?: string | undefined;
  /** Threads of one operator. */
  readonly threads?: number | undefined;
  /** Ends the worker; its unit goes to another one. */
  readonly signal?: AbortSignal | undefined;
  /** Waited for. */
  readonly onEvent?: (event: WorkerEvent) => unknown;
  /** Seconds after which a unit goes to another worker when nothing was heard of this one. 30 when absent. */
  readonly lockSeconds?: number | undefined;
  /** Seconds that a unit may take; six hours when absent. */
  readonly unitSeconds?: number | undefined;
}

/** Looks at the store's identity within the time of a lock. */
const STORE_LOOKS = 6;

/**
 * Refitting a layer of 70 billion parameters' shape on a million tokens takes a machine of 16 cores more than two
 * hours.
 */
const UNIT_SECONDS = 6 * 3600;

/** Errors of opening the model that say something about this machine, so that it must not have more units. */
const UNFIT: ReadonlySet<ErrorCode> = new Set(["MODEL_DIFFERS", "NOT_FOUND", "FORBIDDEN", "UNSUPPORTED"]);
/** Errors that another attempt may not have. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "STORE_FAILED",
  "OUTPUT_FAILED",
  "OUT_OF_MEMORY",
  "NETWORK",
  "BAD_FILE",
  "NOT_FOUND",
  "INTERNAL",
]);

/**
 * Computes units until it is told to stop. Where the queue's server is away then, its client goes on looking for it,
 * which keeps a process from ending by itself.
 * @throws GpruneError QUEUE_FAILED and STORE_FAILED when they cannot be reached at the beginning; MODEL_DIFFERS and
 *   NOT_FOUND when this machine has not the model that a run prunes
 */
export async function runWorker(settings: WorkerSettings): Promise<void> {
  const store = patientStore(await openStore(settings.store));
  while ((await listen(settings, store)) === "moved") await settings.onEvent?.({ event: "moved" });
}

/**
 * Serves the queue of a store until the worker is told to stop, or the store has been emptied and so has another queue.
 */
async function listen(settings: WorkerSettings, store: Store): Promise<"told" | "moved"> {
  const { redis, threads, signal, lockSeconds = 30 } = settings;
  const identity = await storeIdentity(store);
  const name = queueName(identity, threads);
  const worker = new UnitWorker(settings, { store, queue: name });
  const compute = (key: string, data: unknown): Promise<void> => worker.compute(key, data);
  const queue = await JobWorker.start({ redis, name, lockSeconds, compute });
  const closing = new AbortController();
  const looks = setInterval((1000 * lockSeconds) / STORE_LOOKS, undefined, { signal: closing.signal });
  const moved = async (): Promise<"moved"> => {
    // A store that does not answer may be the same when it does.
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
    // It may be refused before anybody waits for the end.
    this.#unfit.catch(() => {});
  }

  /** Resolves when the signal says so. @throws GpruneError when this machine turns out to be unfit */
  async ended(signal: AbortSignal | undefined): Promise<"told"> {
    const told = new Promise<"told">((resolve) => {
      if (signal?.aborted) resolve("told");
      else signal?.addEventListener("abort", () => resolve("told"), { once: true });
    });
    return await Promise.race([told, this.#unfit]);
  }

  /** Ends the child; the unit that it is at is given back. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#process.stop();
  }

  /** Computes one unit and records its result. */
  async compute(key: string, data: unknown): Promise<void> {
    if (this.#stopping) throw new JobGivenBack();
    const job = parsed(key, data, this.#queue);
    if (await this.#isKnown(key)) return this.#tell({ event: "known", unit: key });
    if (this.#stopping) throw new JobGivenBack();
    this.#process.start();
    await this.#tell({ event: "started", unit: key, what: describeUnit(job.unit), pid: this.#process.pid });
    const started = performance.now();
    const objects = await this.#objectsOf(key, job);
    const first = await this.#store.claim(recordName(key), formatResult(key, objects));
    const seconds = (performance.now() - started) / 1000;
    await this.#tell({ event: "finished", unit: key, seconds, first });
  }

  async #objectsOf(key: string, job: UnitJob): Promise<UnitResult> {
    let failure: PlainError;
    let atModel = false;
    try {
      const answer = await this.#process.compute(job, this.#settings.unitSeconds ?? UNIT_SECONDS);
      if (answer.type === "done") return answer.objects;
      ({ failure, atModel } = answer);
    } catch (error) {
      const { code, message } =
        error instanceof GpruneError ? error : { code: "INTERNAL" as const, message: String(error) };
      failure = { code, message };
    }
    throw await this.#judged(key, failure, atModel);
  }

  /** What the queue is told about a failure. @param atModel - whether it was the model that could not be opened */
  async #judged(key: string, failure: PlainError, atModel: boolean): Promise<Error> {
    const { code, message } = failure;
    if (this.#stopping || (atModel && UNFIT.has(code))) {
      await this.#tell({ event: "dropped", unit: key });
      if (!this.#stopping) this.#refuse(GpruneError.fromPlain(failure));
      return new JobGivenBack();
    }
    await this.#tell({ event: "failed", unit: key, reason: message });
    const again = code === "UNIT_FAILED" || PASSING.has(code);
    return again ? new Error(formatFailure(failure)) : new HopelessJob(formatFailure(failure));
  }

  /**
   * Whether the unit's result is recorded. A record that is not the unit's is forgotten: it would keep the name from
   * the result.
   */
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

/** @throws HopelessJob for what is no unit */
function parsed(key: string, data: unknown, queue: string): UnitJob {
  try {
    return parseJob(data, key, queue);
  } catch (error) {
    const { code, message } = error as GpruneError;
    throw new HopelessJob(formatFailure({ code, message }));
  }
}
