/**
 * The queue between a run and its workers: BullMQ, of which only this file and queue_server.ts know. Jobs have the key
 * of their unit as name, so one that is asked for twice lies there once. The queue only says who computes what; results
 * lie in the store, and are true wherever and however often they were computed.
 */
import {
  type Job,
  type Queue,
  type QueueEvents,
  UnrecoverableError,
  WaitingError,
  type Worker,
} from "bullmq";
import { type QueueServer, reachServer } from "./queue_server.ts";

/** Times that a unit may fail, and times that a worker may die over it. */
const ATTEMPTS = 3;
/** Milliseconds before a failed unit is tried again. */
const BACKOFF_MS = 500;
/** Seconds that a server has to take leave; BullMQ would wait for one that is away until it is back. */
const CLOSE_SECONDS = 3;

/** Where the queue is. */
export interface QueueAddress {
  /** Address of a Redis or PostgreSQL server, see `reachServer`. */
  readonly redis: string;
  readonly name: string;
}

/** What has become of a job. */
export type JobState =
  | { readonly kind: "none" }
  | { readonly kind: "open"; readonly data: unknown }
  | { readonly kind: "completed" }
  | { readonly kind: "failed"; readonly reason: string };

/** The queue as a run sees it. */
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
   * @param onEnd - hears, soon after, of jobs that have ended; not of all of them
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
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  /** Adds a job unless it is there. */
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

  /** Gives a job other data, which whoever takes it from now on is given; nothing when it has ended. */
  async update(key: string, data: unknown): Promise<void> {
    const job: Job | undefined = await this.#server.patiently(() => this.#queue.getJob(key));
    await this.#server.patiently(async () => job?.updateData(data)).catch(() => {});
  }

  /** Removes a job; one that is being computed stays. */
  async remove(key: string): Promise<void> {
    await this.#server.patiently(() => this.#queue.remove(key)).catch(() => {});
  }

  /** Workers that listen. */
  workers(): Promise<number> {
    return this.#server.patiently(() => this.#queue.getWorkersCount());
  }

  /** Ends whether or not the server answers. */
  async close(): Promise<void> {
    this.#server.disconnect();
    await inTime([this.#events.close(), this.#queue.close()]);
  }
}

/** Thrown by `compute` for a job that would fail again. */
export class HopelessJob extends Error {}
/** Thrown by `compute` when it gives a job back, which then counts as never begun. */
export class JobGivenBack extends Error {}

export interface JobWorkerOptions extends QueueAddress {
  /** Seconds without a sign of life after which a job goes to another worker. */
  readonly lockSeconds: number;
  readonly compute: (key: string, data: unknown) => Promise<void>;
}

/** Takes one job after another. */
export class JobWorker {
  readonly #worker: Worker;
  readonly #server: QueueServer;

  private constructor(worker: Worker, server: QueueServer) {
    this.#worker = worker;
    this.#server = server;
  }

  /** Begins at once. @throws GpruneError QUEUE_FAILED */
  static async start({ redis: url, name, lockSeconds, compute }: JobWorkerOptions): Promise<JobWorker> {
    const server = await reachServer(url);
    const worker = server.worker(name, (job, token) => taken(job, token, compute), {
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
    } catch (error) {
      await started.close(async () => {});
      throw error;
    }
  }

  /**
   * Takes no further job, and ends once the one at hand has been given back. A server that is away does not get it
   * back: it gives the job to another worker when the lock is over.
   * @param stop - stops what is computed for it
   */
  async close(stop: () => Promise<void>): Promise<void> {
    const closed = this.#worker.close();
    await stop();
    await inTime([closed]);
    this.#server.disconnect();
  }
}

/** Waits until all have ended, well or not, or the time is over. */
async function inTime(ends: readonly Promise<unknown>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, 1000 * CLOSE_SECONDS);
  });
  await Promise.race([Promise.allSettled(ends), late]);
  clearTimeout(timer);
}

async function taken(
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
