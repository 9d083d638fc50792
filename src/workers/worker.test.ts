import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { redisForTest } from "../../test/redis_for_test.ts";
import { hasRedis } from "../../test/redis_server.ts";
import { writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { silent } from "../base/progress.ts";
import { DirectoryStore } from "../io/store/directory_store.ts";
import { openStore } from "../io/store/open_store.ts";
import { keepValue, type Store, storeFailed, storeIdentity } from "../io/store/store.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import { JobQueue } from "./queue.ts";
import { formatJob, parseResult, queueName, recordName, type UnitJob, unitKey } from "./unit.ts";
import { parseFailure } from "./unit_messages.ts";
import { runWorker, type WorkerEvent } from "./worker.ts";

/** A job for the losses of a few tokens. */
async function smallJob(directory: string, store: Store): Promise<UnitJob> {
  const model = await writeTinyCheckpoint(directory);
  const opened = await openModel(model);
  const hashes = await modelHashes(opened, silent);
  await opened.weights.close();
  const windows = await keepValue(store, { set: "", windows: [Int32Array.of(1, 2, 3, 4)] });
  return { model, unit: { kind: "losses", hashes, windows, recipe: null } };
}

/** A job in a queue, and settings for a worker. @param record - text of a record that the store has already */
async function withJob({ record }: { readonly record?: string } = {}) {
  const { server, root } = await redisForTest();
  const address = join(root, "store");
  const store = await openStore(address);
  const job = await smallJob(join(root, "model"), store);
  const name = queueName(await storeIdentity(store), 1);
  const key = unitKey(job.unit, name);
  if (record !== undefined) await store.claim(recordName(key), record);
  const queue = await JobQueue.open({ redis: server.url, name }, () => {});
  await queue.add(key, formatJob(job));
  return { server, store, queue, key, job, worker: { redis: server.url, store: address, threads: 1 } };
}

test.skipIf(!hasRedis)(
  "a worker that is told to stop before its process computes gives the unit back",
  {
    timeout: 120_000,
  },
  async () => {
    const { queue, key, worker } = await withJob();
    const end = new AbortController();
    const events: string[] = [];
    await runWorker({
      ...worker,
      signal: end.signal,
      onEvent: async ({ event }) => {
        events.push(event);
        if (event !== "started") return;
        end.abort();
        await new Promise((resolve) => setTimeout(resolve, 500));
      },
    });
    // Long enough for another worker to compute it.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(events).toEqual(["listening", "started", "dropped"]);
    expect(await queue.state(key)).toMatchObject({ kind: "open" });
    await queue.close();
  },
);

test.skipIf(!hasRedis)(
  "a worker that finds a record which is none puts its own in the place",
  {
    timeout: 120_000,
  },
  async () => {
    const { store, queue, key, worker } = await withJob({ record: "no record" });
    const end = new AbortController();
    const finished: WorkerEvent[] = [];
    await runWorker({
      ...worker,
      signal: end.signal,
      onEvent: (event) => {
        if (event.event !== "finished") return;
        finished.push(event);
        end.abort();
      },
    });
    expect(finished).toMatchObject([{ unit: key, first: true }]);
    expect(parseResult((await store.record(recordName(key)))!, key)).toHaveProperty("losses");
    await queue.close();
  },
);

test.skipIf(!hasRedis)(
  "a worker without the model of a unit says how to be rid of units whose run is over",
  { timeout: 120_000 },
  async () => {
    const { queue, key, job, worker } = await withJob();
    await rm(job.model, { recursive: true });
    await expect(runWorker(worker)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `${job.model}: expected a model, got no such file or directory`,
      hint: expect.stringMatching(
        /^Give a .* A unit in the queue needs it\. If its run is over, empty the store/,
      ),
    });
    expect(await queue.state(key)).toMatchObject({ kind: "open" });
    await queue.close();
  },
);

test.skipIf(!hasRedis)(
  "a worker whose store is emptied listens where the next run asks, once the server is there",
  { timeout: 120_000 },
  async () => {
    const { server, store, queue, worker } = await withJob();
    await queue.close();
    const end = new AbortController();
    const queues: string[] = [];
    const onEvent = async (event: WorkerEvent): Promise<void> => {
      if (event.event === "moved") {
        queues.push("moved");
        // Away for some attempts to connect, and back.
        await server.kill();
        setTimeout(() => void server.start(), 2500);
      }
      if (event.event === "waiting") queues.push("waiting");
      if (event.event !== "listening") return;
      queues.push(event.queue);
      if (queues.length > 1) end.abort();
      else await store.forget("store");
    };
    await runWorker({ ...worker, lockSeconds: 3, signal: end.signal, onEvent });
    const now = queueName(await storeIdentity(store), 1);
    expect([...new Set(queues)]).toEqual([expect.stringMatching(/^gprune-/), "moved", "waiting", now]);
    expect(queues[0]).not.toBe(now);
  },
);

test.skipIf(!hasRedis).each(["claim", "record"])(
  "a worker whose store refuses the %s of a unit says why, and so does the queue",
  { timeout: 120_000 },
  async (method) => {
    const { store, queue, key, worker } = await withJob();
    const full = Object.assign(new Error("ENOSPC"), { code: "ENOSPC", errno: -28 });
    // Both take the record's name first.
    const refusing = method as "claim";
    const { [refusing]: whole } = DirectoryStore.prototype;
    const spy = vi.spyOn(DirectoryStore.prototype, refusing).mockImplementation(async function (
      this: DirectoryStore,
      name: string,
      text: string,
    ) {
      if (name === recordName(key)) throw storeFailed(store.name, full);
      return whole.call(this, name, text);
    });
    onTestFinished(() => spy.mockRestore());
    const end = new AbortController();
    const events: WorkerEvent[] = [];
    const ended = runWorker({ ...worker, signal: end.signal, onEvent: (event) => events.push(event) });
    await vi.waitFor(async () => expect(await queue.state(key)).toHaveProperty("reason"), {
      timeout: 60_000,
    });
    end.abort();
    await ended;
    const message = `${store.name}: expected a writable store, got ENOSPC`;
    const once = [...(method === "claim" ? ["started"] : []), "failed"];
    // A worker may take a job before it says that it listens.
    const others = events.filter(({ event }) => event !== "listening");
    expect(others.map(({ event }) => event)).toEqual([...once, ...once, ...once]);
    expect(others.at(-1)).toMatchObject({ unit: key, reason: message });
    const { reason } = (await queue.state(key)) as { readonly reason: string };
    expect(parseFailure(reason)).toEqual({
      code: "STORE_FAILED",
      message,
      hint: expect.stringContaining("The disk is full"),
    });
    await queue.close();
  },
);
