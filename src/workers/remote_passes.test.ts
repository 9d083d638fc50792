import { once } from "node:events";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { redisForTest } from "../../test/redis_for_test.ts";
import { hasRedis } from "../../test/redis_server.ts";
import { hashes } from "../../test/run_cli.ts";
import { demoText, writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { silent } from "../base/progress.ts";
import { prune, resolveRunConfig } from "../index.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { DirectoryStore } from "../io/store/directory_store.ts";
import { openStore } from "../io/store/open_store.ts";
import { requireValue } from "../io/store/store.ts";
import { distributed, runWorker } from "./index.ts";

/** Objects of a name in the results of all units. */
async function objectsOf(store: string, name: string): Promise<readonly Digest[]> {
  const records = join(store, "records");
  const texts = await Promise.all(
    (await readdir(records)).map((name) => readFile(join(records, name), "utf8")),
  );
  return texts.flatMap((text) => (text.includes(`"${name}"`) ? JSON.parse(text).objects[name] : []));
}

/** Name of the record of the unit that computed the moments of a space. */
async function momentsOf(store: string, space: string): Promise<string> {
  const opened = await openStore(store);
  for (const name of await readdir(join(store, "records"))) {
    const text = await readFile(join(store, "records", name), "utf8");
    if (!text.includes('"moments"')) continue;
    const value = await requireValue(opened, JSON.parse(text).objects.moments);
    if ((value as { readonly kept: ReadonlyMap<string, unknown> }).kept.has(space)) return name;
  }
  throw new Error(`no moments of ${space}`);
}

test.skipIf(!hasRedis)(
  "makes again what units gave and is damaged or gone",
  { timeout: 300_000 },
  async () => {
    const { server, root } = await redisForTest();
    const store = join(root, "store");
    const end = new AbortController();
    const worker = runWorker({ redis: server.url, store, threads: 1, signal: end.signal });
    onTestFinished(async () => {
      end.abort();
      await worker;
    });
    const model = await writeTinyCheckpoint(join(root, "model"));
    const calibration = [{ name: "code", path: demoText("calibration", "code") }];
    const settings = { model, calibration, samples: 2, seqLen: 32, rounds: 1, threads: 1, report: false };
    const pruned = async (name: string): Promise<unknown> => {
      const output = join(root, name);
      const openPasses = distributed({ redis: server.url, store, layersPerUnit: 1 });
      await prune(resolveRunConfig({ ...settings, output }, "test"), { openPasses });
      return hashes(output, ["model.safetensors", "plan.json"]);
    };
    const pathOf = ({ sha256 }: Digest): string => join(store, "objects", sha256.slice(0, 2), sha256);
    const expected = await pruned("first");
    for (const name of ["moments", "refitted"]) {
      const [damaged, incomplete] = await objectsOf(store, name);
      await writeFile(pathOf(damaged!), "damaged");
      const { kept } = (await requireValue(await openStore(store), incomplete!)) as {
        readonly kept: ReadonlyMap<string, { readonly object: Digest }>;
      };
      for (const { object } of kept.values()) await rm(pathOf(object), { force: true });
      expect(await pruned(`without ${name}`)).toEqual(expected);
    }
    // The size stays the same, so that only workers notice: they remove the objects and the run fails, and a repeated
    // run has them computed again.
    const states = await objectsOf(store, "hidden");
    for (const object of states) {
      const bytes = await readFile(pathOf(object));
      bytes[bytes.length - 9]! ^= 1;
      await writeFile(pathOf(object), bytes);
    }
    // Moments units of earlier layers would write the hidden states again.
    const last = await momentsOf(store, "layers.2.kv");
    await rm(join(store, "records", last));
    let found: unknown;
    for (let time = 0; time <= states.length && found === undefined; time++)
      found = await pruned(`damaged ${time}`).catch(({ code }) => void expect(code).toBe("UNIT_FAILED"));
    expect(found).toEqual(expected);
  },
);

/** Counts objects that are being written to stores in directories. */
function countWrites(): { made: number; now: number; most: number } {
  const writes = { made: 0, now: 0, most: 0 };
  const { keep } = DirectoryStore.prototype;
  const spy = vi.spyOn(DirectoryStore.prototype, "keep").mockImplementation(async function (
    this: DirectoryStore,
    fill,
  ) {
    writes.most = Math.max(writes.most, ++writes.now);
    const digest = await keep.call(this, fill);
    writes.now--;
    writes.made++;
    return digest;
  });
  onTestFinished(() => spy.mockRestore());
  return writes;
}

test.skipIf(!hasRedis)("writes one shard after the other", async () => {
  const { server, root } = await redisForTest();
  const model = tinyModel();
  const end = new AbortController();
  const open = distributed({ redis: server.url, store: join(root, "store") });
  const passes = await open({ model, hashes: {}, signal: end.signal });
  const windows = [1, 2, 3, 4].map((id) => new Int32Array(3000).fill(id));
  const made = { model, recipe: {} };
  const writes = countWrites();
  // No worker computes them.
  const computed = expect(
    passes.losses([{ made, windows }], { stage: "check", onProgress: silent }),
  ).rejects.toMatchObject({
    code: "INTERRUPTED",
  });
  await vi.waitFor(() => expect(writes.made).toBe(4));
  const sums = expect(passes.gateStatistics(made, [{ name: "a", windows }])).rejects.toMatchObject({
    code: "INTERRUPTED",
  });
  await vi.waitFor(() => expect(writes.made).toBe(8));
  end.abort();
  await Promise.all([computed, sums]);
  await passes.close();
  expect(writes.most).toBe(1);
});

test.skipIf(!hasRedis)("writes a recipe that could not be written when it is next asked for", async () => {
  const { server, root } = await redisForTest();
  const end = new AbortController();
  const open = distributed({ redis: server.url, store: join(root, "store") });
  const passes = await open({ model: tinyModel(), hashes: {}, signal: end.signal });
  const made = { model: tinyModel(), recipe: { keep: { "layers.0.ffn": [0] } } };
  const losses = (): Promise<unknown> =>
    passes.losses([{ made, windows: [new Int32Array(8)] }], { stage: "check", onProgress: silent });
  const writes = countWrites();
  vi.mocked(DirectoryStore.prototype.keep).mockRejectedValueOnce(new Error("no more room"));
  await expect(losses()).rejects.toThrow("no more room");
  // No worker computes them.
  const computed = expect(losses()).rejects.toMatchObject({ code: "INTERRUPTED" });
  await vi.waitFor(() => expect(writes.made).toBe(2));
  end.abort();
  await computed;
  await passes.close();
});

test("makes no store where no server answers", async () => {
  const root = await temporaryDirectory();
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const { port } = free.address() as AddressInfo;
  free.close();
  await once(free, "close");
  const open = distributed({ redis: `redis://127.0.0.1:${port}`, store: join(root, "store") });
  await expect(open({ model: tinyModel(), hashes: {} })).rejects.toMatchObject({ code: "QUEUE_FAILED" });
  expect(await readdir(root)).toEqual([]);
});

test.each([0, 0.5, -1, Number.NaN])("refuses units of %d layers", (layersPerUnit) => {
  const message = `layersPerUnit: expected a whole number of at least 1, got ${layersPerUnit}`;
  expect(() => distributed({ redis: "redis://none", store: "none", layersPerUnit })).toThrow(message);
});

test.each([0, -1, Number.NaN])("refuses a worker's times of %d seconds", async (seconds) => {
  for (const name of ["lockSeconds", "unitSeconds"]) {
    const settings = { redis: "redis://none", store: "none", [name]: seconds };
    const message = `${name}: expected a number of seconds above 0, got ${seconds}`;
    await expect(runWorker(settings)).rejects.toMatchObject({ code: "BAD_ARGUMENT", message });
  }
});
