import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { redisForTest } from "../../test/redis_for_test.ts";
import { hasRedis } from "../../test/redis_server.ts";
import { openStore } from "../io/store/open_store.ts";
import type { Store } from "../io/store/store.ts";
import { Dispatcher } from "./dispatcher.ts";
import { JobQueue, JobWorker, type QueueAddress } from "./queue.ts";
import { formatJob, formatResult, recordName, type Unit, unitKey } from "./unit.ts";

const NAME = "gprune-test";

/** A unit whose result tests provide, so that no worker has to compute it. */
const UNIT: Unit = {
  kind: "losses",
  hashes: {},
  windows: { bytes: 0, sha256: "0".repeat(64) },
  recipe: null,
};

/** Blocks the event loop, as a long computation does. */
function computeFor(seconds: number): void {
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end);
}

test.skipIf(!hasRedis)(
  "a run that computed by itself for long asks the server before it loses patience",
  {
    timeout: 60_000,
  },
  async () => {
    const { server, root } = await redisForTest();
    const store = await openStore(join(root, "store"));
    const key = unitKey(UNIT, NAME);
    await store.claim(recordName(key), formatResult(key, {}));
    const dispatcher = await Dispatcher.open({
      redis: server.url,
      name: NAME,
      store,
      model: "model",
      patienceSeconds: 1,
    });
    // Longer than both the patience and the time between two sweeps.
    computeFor(3.5);
    await expect(dispatcher.result(UNIT)).resolves.toEqual({});
    await dispatcher.close();
  },
);

test("a server that answers nothing is not looked at before its queue is open", async () => {
  const connected: Socket[] = [];
  const server = createServer((socket) => void connected.push(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const store = await openStore(join(await temporaryDirectory(), "store"));
  const unheard: unknown[] = [];
  const hear = (error: unknown): void => void unheard.push(error);
  process.on("unhandledRejection", hear);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
  onTestFinished(() => {
    vi.useRealTimers();
    process.off("unhandledRejection", hear);
    for (const socket of connected) socket.destroy();
    server.close();
  });
  const redis = `redis://127.0.0.1:${typeof address === "object" ? address!.port : 0}`;
  const refused = expect(Dispatcher.open({ redis, name: NAME, store, model: "model" })).rejects.toMatchObject(
    { code: "QUEUE_FAILED" },
  );
  await once(server, "connection");
  // Longer than the time between two sweeps, and than the limit for the first answer.
  await vi.advanceTimersByTimeAsync(6000);
  await refused;
  expect(unheard).toEqual([]);
});

/** A dispatcher and its queue. @param before - called with the queue before the dispatcher is opened */
async function runInQueue(before: (jobs: JobQueue) => Promise<void> = async () => {}): Promise<{
  readonly queue: QueueAddress;
  readonly jobs: JobQueue;
  readonly dispatcher: Dispatcher;
  readonly store: Store;
}> {
  const { server, root } = await redisForTest();
  const queue = { redis: server.url, name: NAME };
  const store = await openStore(join(root, "store"));
  const jobs = await JobQueue.open(queue, () => {});
  await before(jobs);
  const dispatcher = await Dispatcher.open({ ...queue, store, model: "model" });
  onTestFinished(async () => {
    await dispatcher.close();
    await jobs.close();
  });
  return { queue, jobs, dispatcher, store };
}

/** A dispatcher, and a worker that claims the record of every unit with the given text. */
async function recordedAs(
  record: (key: string) => string,
): Promise<{ readonly dispatcher: Dispatcher; readonly store: Store; readonly computed: readonly string[] }> {
  const { queue, dispatcher, store } = await runInQueue();
  const computed: string[] = [];
  const worker = await JobWorker.start({
    ...queue,
    lockSeconds: 30,
    compute: async (key) => {
      computed.push(key);
      if (computed.length > 10) dispatcher.fail(new Error("computed without end"));
      await store.claim(recordName(key), record(key));
    },
  });
  onTestFinished(() => worker.close(async () => {}));
  return { dispatcher, store, computed };
}

test.skipIf(!hasRedis)(
  "a unit whose record is none is computed anew, once",
  { timeout: 60_000 },
  async () => {
    const { dispatcher, store, computed } = await recordedAs((key) => formatResult(key, {}));
    const key = unitKey(UNIT, NAME);
    await store.claim(recordName(key), formatResult("1".repeat(64), {}));
    await expect(dispatcher.result(UNIT)).resolves.toEqual({});
    expect(computed).toEqual([key]);
  },
);

test.skipIf(!hasRedis)(
  "a unit whose record is none time and again ends the run",
  { timeout: 60_000 },
  async () => {
    const { dispatcher, store, computed } = await recordedAs(() => "no record");
    await expect(dispatcher.result(UNIT)).rejects.toMatchObject({
      code: "UNIT_FAILED",
      message: expect.stringContaining(`its record is damaged in ${store.name}`),
    });
    expect(computed).toHaveLength(4);
  },
);

test.skipIf(!hasRedis)(
  "a unit that an earlier run left in the queue says where this run has the model",
  { timeout: 60_000 },
  async () => {
    const key = unitKey(UNIT, NAME);
    const left = formatJob({ model: "/not/there/any/more", unit: UNIT });
    const { jobs, dispatcher } = await runInQueue((before) => before.add(key, left));
    dispatcher.result(UNIT).catch(() => {});
    const asked = { kind: "open", data: formatJob({ model: "model", unit: UNIT }) };
    await expect.poll(() => jobs.state(key), { timeout: 30_000 }).toEqual(asked);
  },
);

test.skipIf(!hasRedis)(
  "a run that stood still for longer than it has patience goes on when it can",
  { timeout: 60_000 },
  async () => {
    const { jobs, dispatcher, store } = await runInQueue();
    onTestFinished(() => void vi.restoreAllMocks());
    const key = unitKey(UNIT, NAME);
    const result = dispatcher.result(UNIT);
    result.catch(() => {});
    await expect.poll(() => jobs.state(key), { timeout: 30_000 }).toMatchObject({ kind: "open" });
    await store.claim(recordName(key), formatResult(key, {}));
    const now = performance.now.bind(performance);
    vi.spyOn(performance, "now").mockImplementation(() => now() + 1e7);
    await jobs.remove(key);
    await expect(result).resolves.toEqual({});
  },
);
