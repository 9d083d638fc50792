/**
 * The queue between a run and its workers: BullMQ on Redis, of which no other file knows. Jobs have the key of their unit as
 * name, so one that is asked for twice lies there once. The queue only says who computes what; results lie in the store, and are
 * true wherever and however often they were computed.
 */
import { type Job, Queue, QueueEvents, UnrecoverableError, WaitingError, Worker } from "bullmq";
import { Redis } from "ioredis";
import { GpruneError } from "../errors.ts";

/** Seconds in which Redis has to answer when a queue is opened. */
const CONNECT_SECONDS = 5;
/** Times that a unit may fail, and times that a worker may die over it. */
const ATTEMPTS = 3;
/** Milliseconds before a failed unit is tried again. */
const BACKOFF_MS = 500;

/** Where the queue is. */
export interface QueueAddress {
  readonly redis: string;
  readonly name: string;
}

/** Opens a connection that outlives failures of the server. @throws GpruneError QUEUE_FAILED when there is no answer */
async function connect(url: string): Promise<Redis> {
  requireRedisUrl(url);
  const redis = new Redis(url, { maxRetriesPerRequest: null, lazyConnect: true });
  let reason = `no answer in ${CONNECT_SECONDS} s`;
  redis.on("error", (error: Error) => {
    reason = error.message;
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(reason)), 1000 * CONNECT_SECONDS);
  });
  try {
    await Promise.race([redis.connect().then(() => redis.ping()), late]);
    return redis;
  } catch (cause) {
    redis.disconnect();
    throw queueFailed(url, reason, cause);
  } finally {
    clearTimeout(timer);
  }
}

/** @throws GpruneError BAD_ARGUMENT */
function requireRedisUrl(url: string): void {
  if (URL.canParse(url) && /^rediss?:$/.test(new URL(url).protocol)) return;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `--redis: expected redis://HOST[:PORT][/DB], got ${withoutSecrets(url)}`,
  );
}

function queueFailed(url: string, reason: string, cause?: unknown): GpruneError {
  const message = `${withoutSecrets(url)}: expected a Redis server, got ${reason}`;
  return new GpruneError("QUEUE_FAILED", message, {
    hint: "Start it, or give the address of one that runs with --redis.",
    cause,
  });
}

/** An address without user and password. */
function withoutSecrets(address: string): string {
  return address.replace(/\/\/[^/]*@/, "//");
}

/** What has become of a job. */
export type JobState =
  | { readonly kind: "none" }
  | { readonly kind: "open" }
  | { readonly kind: "completed" }
  | { readonly kind: "failed"; readonly reason: string };

/** The queue as a run sees it. */
export class JobQueue {
  readonly #queue: Queue;
  readonly #events: QueueEvents;
  readonly #redis: readonly Redis[];

  private constructor(queue: Queue, events: QueueEvents, redis: readonly Redis[]) {
    this.#queue = queue;
    this.#events = events;
    this.#redis = redis;
  }

  /**
   * @param onEnd - hears, soon after, of jobs that have ended; not of all of them
   * @throws GpruneError QUEUE_FAILED
   */
  static async open({ redis: url, name }: QueueAddress, onEnd: (key: string) => void): Promise<JobQueue> {
    const redis = [await connect(url), await connect(url)] as const;
    const queue = new Queue(name, { connection: redis[0] });
    const events = new QueueEvents(name, { connection: redis[1] });
    queue.on("error", () => {});
    events.on("error", () => {});
    events.on("completed", ({ jobId }) => onEnd(jobId));
    events.on("failed", ({ jobId }) => onEnd(jobId));
    await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
    return new JobQueue(queue, events, redis);
  }

  /** Adds a job unless it is there. */
  async add(key: string, data: unknown): Promise<void> {
    await this.#queue.add("unit", data, {
      jobId: key,
      attempts: ATTEMPTS,
      backoff: { type: "fixed", delay: BACKOFF_MS },
      removeOnComplete: true,
    });
  }

  async state(key: string): Promise<JobState> {
    const job: Job | undefined = await this.#queue.getJob(key);
    if (job === undefined) return { kind: "none" };
    if (job.finishedOn === undefined) return { kind: "open" };
    return job.failedReason ? { kind: "failed", reason: job.failedReason } : { kind: "completed" };
  }

  /** Removes a job; one that somebody computes stays. */
  async remove(key: string): Promise<void> {
    await this.#queue.remove(key).catch(() => {});
  }

  /** Workers that listen. */
  workers(): Promise<number> {
    return this.#queue.getWorkersCount();
  }

  async close(): Promise<void> {
    // Closing waits for answers of a server that may be gone; disconnecting does not.
    for (const redis of this.#redis) redis.disconnect();
    await Promise.allSettled([this.#events.close(), this.#queue.close()]);
  }
}

/** Thrown by whoever computes a job that would fail again. */
export class HopelessJob extends Error {}
/** Thrown by whoever gives a job back uncomputed, so that it counts as never begun. */
export class JobGivenBack extends Error {}

export interface JobWorkerOptions extends QueueAddress {
  /** Seconds after which a job goes to somebody else when nothing was heard of whoever computes it. */
  readonly lockSeconds: number;
  readonly compute: (key: string, data: unknown) => Promise<void>;
}

/** Takes one job after another. */
export class JobWorker {
  readonly #worker: Worker;
  readonly #redis: Redis;

  private constructor(worker: Worker, redis: Redis) {
    this.#worker = worker;
    this.#redis = redis;
  }

  /** Begins at once. @throws GpruneError QUEUE_FAILED */
  static async start({ redis: url, name, lockSeconds, compute }: JobWorkerOptions): Promise<JobWorker> {
    const redis = await connect(url);
    const worker = new Worker(name, (job, token) => taken(job, token, compute), {
      connection: redis,
      lockDuration: 1000 * lockSeconds,
      stalledInterval: 500 * lockSeconds,
      maxStalledCount: ATTEMPTS,
    });
    // It connects again by itself; a lost lock does not matter, since results are the same whoever gives them.
    worker.on("error", () => {});
    await worker.waitUntilReady();
    return new JobWorker(worker, redis);
  }

  /** Ends once the job at hand has been given back or ended. */
  async close(): Promise<void> {
    await this.#worker.close();
    this.#redis.disconnect();
  }
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
