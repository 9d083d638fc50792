/**
 * The server that a queue lies on: Redis, or PostgreSQL from version 13. BullMQ works alike on both; connecting,
 * retrying and disconnecting differ.
 */
import {
  createPostgresBackend,
  type Processor,
  Queue,
  QueueEvents,
  Worker,
  type WorkerOptions,
} from "bullmq";
import { Redis } from "ioredis";
import pg from "pg";
import { badArgument } from "../base/arguments.ts";
import { GpruneError, reasonOf } from "../errors.ts";
import { SERVER_ADDRESSES, serverKind, withoutSecrets } from "./server_address.ts";

/** Seconds to wait for a server's first answer. */
const CONNECT_SECONDS = 5;
/** Milliseconds between two attempts at an unreachable server. */
const RETRY_MS = 500;

/** Makes BullMQ's classes for one server. */
export interface QueueServer {
  queue(name: string): Queue;
  events(name: string): QueueEvents;
  worker(name: string, process: Processor, options: Omit<WorkerOptions, "connection">): Worker;
  /** Repeats `ask` while the server is unreachable; other failures pass through. */
  patiently<T>(ask: () => Promise<T>): Promise<T>;
  /** Drops the connections without waiting for answers. */
  disconnect(): void;
}

/**
 * Connects to a server, to see that it is there.
 * @param url - redis://HOST[:PORT][/DB] or postgres://[USER@]HOST[:PORT]/DATABASE
 * @throws GpruneError BAD_ARGUMENT for another address, QUEUE_FAILED when there is no answer
 */
export async function reachServer(url: string): Promise<QueueServer> {
  const kind = serverKind(url);
  if (kind === "Redis") return RedisServer.reach(url);
  if (kind === "PostgreSQL") return PostgresServer.reach(url);
  throw badArgument("queue server", SERVER_ADDRESSES, withoutSecrets(url));
}

class RedisServer implements QueueServer {
  readonly #url: string;
  readonly #clients: Redis[] = [];

  private constructor(url: string) {
    this.#url = url;
  }

  static async reach(url: string): Promise<RedisServer> {
    const redis = new Redis(url, { lazyConnect: true });
    try {
      await firstAnswer(redis, () => redis.connect().then(() => redis.ping()), { url, kind: "Redis" });
    } finally {
      redis.disconnect();
    }
    return new RedisServer(url);
  }

  queue(name: string): Queue {
    return new Queue(name, { connection: this.#client() });
  }

  events(name: string): QueueEvents {
    return new QueueEvents(name, { connection: this.#client() });
  }

  worker(name: string, process: Processor, options: Omit<WorkerOptions, "connection">): Worker {
    return new Worker(name, process, { ...options, connection: this.#client() });
  }

  /** Redis clients retry by themselves: they queue commands until the server is back. */
  patiently<T>(ask: () => Promise<T>): Promise<T> {
    return ask();
  }

  disconnect(): void {
    for (const redis of this.#clients) redis.disconnect();
  }

  /** A connection that outlives failures of the server. */
  #client(): Redis {
    const client = new Redis(this.#url, { maxRetriesPerRequest: null });
    client.on("error", () => {});
    this.#clients.push(client);
    return client;
  }
}

class PostgresServer implements QueueServer {
  readonly #connection: { readonly connectionString: string; readonly migrate: true };
  #isOpen = true;

  private constructor(connectionString: string) {
    this.#connection = { connectionString, migrate: true };
  }

  static async reach(url: string): Promise<PostgresServer> {
    const client = new pg.Client({ connectionString: url });
    const ask = (): Promise<unknown> => client.connect().then(() => client.query("select 1"));
    try {
      await firstAnswer(client, ask, { url, kind: "PostgreSQL" });
    } finally {
      void client.end().catch(() => {});
    }
    return new PostgresServer(url);
  }

  queue(name: string): Queue {
    return new Queue(name, { connection: this.#connection }, createPostgresBackend) as unknown as Queue;
  }

  events(name: string): QueueEvents {
    const events = new QueueEvents(name, { connection: this.#connection }, createPostgresBackend);
    return events as unknown as QueueEvents;
  }

  worker(name: string, process: Processor, options: Omit<WorkerOptions, "connection">): Worker {
    const workerOptions = { ...options, connection: this.#connection };
    return new Worker(name, process, workerOptions, createPostgresBackend) as unknown as Worker;
  }

  /** Connections to PostgreSQL, and the queries on them, fail when the server goes away. */
  async patiently<T>(ask: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!this.#isOpen || !isAway(error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** Only ends retrying: BullMQ closes its connections with the queues. */
  disconnect(): void {
    this.#isOpen = false;
  }
}

/**
 * Whether an error means that PostgreSQL is unreachable, rather than that a query is wrong: SQLSTATE classes 08
 * (connection exception), 53 (insufficient resources) and 57 (operator intervention, such as a restart), errors of the
 * system, and the driver's own, which have no code.
 */
function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof pg.DatabaseError) return /^(08|53|57)/.test(code ?? "");
  return code === undefined ? /connection|terminated|timeout/i.test(error.message) : /^E[A-Z]+$/.test(code);
}

/** Waits for the first answer. @throws GpruneError QUEUE_FAILED with the client's last error when none comes in time */
async function firstAnswer(
  client: NodeJS.EventEmitter,
  ask: () => Promise<unknown>,
  { url, kind }: { readonly url: string; readonly kind: string },
): Promise<void> {
  let lastError: string | undefined;
  client.on("error", ({ message }: Error) => {
    lastError = message;
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${CONNECT_SECONDS} s`)), 1000 * CONNECT_SECONDS);
  });
  const answer = ask();
  // It may fail after the deadline, when no one waits for it.
  answer.catch(() => {});
  try {
    await Promise.race([answer, late]);
  } catch (cause) {
    const reason = lastError ?? reasonOf(cause);
    const message = `${withoutSecrets(url)}: expected a ${kind} server, got ${reason}`;
    throw new GpruneError("QUEUE_FAILED", message, { hint: connectionHint(kind, reason, cause), cause });
  } finally {
    clearTimeout(timer);
  }
}

/** What to do about a server that gives no answer, or refuses. */
function connectionHint(kind: string, reason: string, cause: unknown): string {
  if (cause instanceof pg.DatabaseError || /^(NOAUTH|WRONGPASS|NOPERM)\b/.test(reason))
    return "The server runs and refuses: check user, password and database in the address (--redis).";
  if (kind === "Redis" && /closed|EPIPE|ECONNRESET/.test(reason))
    return "It closes the connection, as Redis does for other machines unless it has a password or protected-mode no.";
  return "Start the server, or give the address of a running one (--redis).";
}
