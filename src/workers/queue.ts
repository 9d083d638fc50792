/**
 * The queue between a run and its workers: BullMQ, which only this file and queue_server.ts import. A job's id is the
 * key of its unit, so a unit that is added twice is queued once. The queue only decides who computes what; results lie
 * in the store, and are the same wherever and however often they are computed.
 */
import {
  type Job,
  type Queue,
  type QueueEvents,
  UnrecoverableError,
  WaitingError,
  type Worker,
} from "bullmq";
import { GpruneError, reasonOf } from "../errors.ts";
import { type QueueServer, reachServer } from "./queue_server.ts";
import { withoutSecrets } from "./server_address.ts";

/** Attempts at a unit, and how often a job may stall because its worker died. */
const ATTEMPTS = 3;
/** Milliseconds before a failed unit is tried again. */
const BACKOFF_MS = 500;
/** Seconds to wait for the server when closing; BullMQ would wait for an unreachable one until it is back. */
const CLOSE_SECONDS = 3;

/** Server and name of a queue. */
export interface QueueAddress {
  /** Address of a Redis or PostgreSQL server, see `reachServer`. */
  readonly redis: string;
  readonly name: string;
}

/** State of a job; `open` while it waits or is computed. */
export type JobState =
  | { readonly kind: "none" }
  | { readonly kind: "open"; readonly data: unknown }
  | { readonly kind: "completed" }
  | { readonly kind: "failed"; readonly reason: string };

/** The run's end of the queue: adds jobs and looks up their states. */
export class JobQueue {
  readonly #queue: Queue;
  readonly #events: QueueEvents;
  readonly #server: QueueServer;

  private constructor(queue: Queue, events: QueueEvents, server: QueueServer) {
    this.#queue = queue;
    this.#events = events;
    this.#server = server;
  }

  /**
   * @param onEnd - called soon after a job has ended; events may be lost
   * @throws GpruneError QUEUE_FAILED
   */
  static async open({ redis: url, name }: QueueAddress, onEnd: (key: string) => void): Promise<JobQueue> {
    const server = await reachServer(url);
    const queue = server.queue(name);
    const events = server.events(name);
    queue.on("error", () => {});
    events.on("error", () => {});
    events.on("completed", ({ jobId }) => onEnd(jobId));
    events.on("failed", ({ jobId }) => onEnd(jobId));
    const opened = new JobQueue(queue, events, server);
    try {
      await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
      return opened;
    } catch (cause) {
      await opened.close();
      throw goneAgain(url, cause);
    }
  }

  /** Adds a job unless the queue has one of its key. */
  async add(key: string, data: unknown): Promise<void> {
    const backoff = { type: "fixed", delay: BACKOFF_MS };
    const options = { jobId: key, attempts: ATTEMPTS, backoff, removeOnComplete: true };
    await this.#server.patiently(() => this.#queue.add("unit", data, options));
  }

  async state(key: string): Promise<JobState> {
    const job: Job | undefined = await this.#server.patiently(() => this.#queue.getJob(key));
    if (job === undefined) return { kind: "none" };
    if (job.finishedOn === undefined) return { kind: "open", data: job.data };
    return job.failedReason ? { kind: "failed", reason: job.failedReason } : { kind: "completed" };
  }

  /** Replaces the data of a job, for workers that take it from now on; does nothing when it has ended. */
  async update(key: string, data: unknown): Promise<void> {
    const job: Job | undefined = await this.#server.patiently(() => this.#queue.getJob(key));
    await this.#server.patiently(async () => job?.updateData(data)).catch(() => {});
  }

  /** Removes a job; one that is being computed stays. */
  async remove(key: string): Promise<void> {
    await this.#server.patiently(() => this.#queue.remove(key)).catch(() => {});
  }

  /** Number of workers that listen. */
  workers(): Promise<number> {
    return this.#server.patiently(() => this.#queue.getWorkersCount());
  }

  /** Closes the queue, whether or not the server answers. */
  async close(): Promise<void> {
    this.#server.disconnect();
    await settledInTime([this.#events.close(), this.#queue.close()]);
  }
}

/** Thrown by `compute` for a job that would fail again. */
export class HopelessJob extends Error {}
/** Thrown by `compute` to give a job back, which does not count as an attempt. */
export class JobGivenBack extends Error {}

/** Options of {@link JobWorker.start}. */
export interface JobWorkerOptions extends QueueAddress {
  /** Seconds without a sign of life after which a job goes to another worker. */
  readonly lockSeconds: number;
  readonly compute: (key: string, data: unknown) => Promise<void>;
}

/** The worker's end of the queue: takes one job after another. */
export class JobWorker {
  readonly #worker: Worker;
  readonly #server: QueueServer;

  private constructor(worker: Worker, server: QueueServer) {
    this.#worker = worker;
    this.#server = server;
  }

  /** Starts to take jobs. @throws GpruneError QUEUE_FAILED */
  static async start({ redis: url, name, lockSeconds, compute }: JobWorkerOptions): Promise<JobWorker> {
    const server = await reachServer(url);
    const worker = server.worker(name, (job, token) => processJob(job, token, compute), {
      lockDuration: 1000 * lockSeconds,
      stalledInterval: 500 * lockSeconds,
      maxStalledCount: ATTEMPTS,
    });
    // It connects again by itself; a lost lock does not matter, since every worker gives the same results.
    worker.on("error", () => {});
    const started = new JobWorker(worker, server);
    try {
      await worker.waitUntilReady();
      return started;
    } catch (cause) {
      await started.close(async () => {});
      throw goneAgain(url, cause);
    }
  }

  /**
   * Takes no further job, and ends once the current one has been given back. An unreachable server does not get it
   * back, but gives it to another worker when the lock expires.
   * @param stop - ends the computation of the current job
   */
  async close(stop: () => Promise<void>): Promise<void> {
    const closed = this.#worker.close();
    await stop();
    await settledInTime([closed]);
    this.#server.disconnect();
  }
}

/** Error QUEUE_FAILED for a server that had answered and then fails. */
function goneAgain(url: string, cause: unknown): GpruneError {
  const message = `${withoutSecrets(url)}: expected a server that stays, got ${reasonOf(cause)}`;
  return new GpruneError("QUEUE_FAILED", message, { hint: "Look into the server's log.", cause });
}

/** Waits until all promises have settled, for {@link CLOSE_SECONDS} at most. */
async function settledInTime(ends: readonly Promise<unknown>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, 1000 * CLOSE_SECONDS);
  });
  await Promise.race([Promise.allSettled(ends), late]);
  clearTimeout(timer);
}

/** Computes a job, with its failures as BullMQ wants them. */
async function processJob(
  job: Job,
  token: string | undefined,
  compute: JobWorkerOptions["compute"],
): Promise<void> {
  try {
    await compute(job.id!, job.data);
  } catch (error) {
    if (error instanceof HopelessJob) throw new UnrecoverableError(error.message);
    if (!(error instanceof JobGivenBack)) throw error;
    await job.moveToWait(token);
    throw new WaitingError();
  }
}
