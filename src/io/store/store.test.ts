import { linkSync } from "node:fs";
import { chmod, link, readdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { CREDENTIALS, MockS3 } from "../../../test/mock_s3.ts";
import { armFailPoints } from "../files/fail_points.ts";
import { readValue } from "../files/stage_file.ts";
import { openStore } from "./open_store.ts";
import { S3Store } from "./s3_store.ts";
import { keepValue, keptValue, requireValue, type Store, StoreAway, storeIdentity } from "./store.ts";

vi.mock("node:fs/promises", async (original) => {
  const promises = await original<typeof import("node:fs/promises")>();
  return { ...promises, link: vi.fn(promises.link) };
});

const VALUE = { numbers: Float64Array.of(1, -0, Number.NaN), names: new Map([["a", Int32Array.of(3)]]) };

/** A location of stores, with access to the raw bytes of their objects. */
interface Place {
  open(): Promise<Store>;
  get(sha256: string): Promise<Buffer>;
  /** Null removes. */
  set(sha256: string, bytes: Buffer | null): Promise<void>;
  /** The next write is made and its answer lost; who asks again is told that there is something already. */
  loseAnswer(): void;
}

let s3: MockS3;
beforeAll(async () => {
  s3 = await MockS3.start();
});
afterAll(() => s3.close());

async function directoryPlace(): Promise<Place> {
  const path = join(await temporaryDirectory(), "deep", "store");
  const file = (sha256: string): string => join(path, "objects", sha256.slice(0, 2), sha256);
  return {
    open: () => openStore(path),
    get: (sha256) => readFile(file(sha256)),
    set: (sha256, bytes) => (bytes === null ? rm(file(sha256)) : writeFile(file(sha256), bytes)),
    loseAnswer: () =>
      vi.mocked(link).mockImplementationOnce(async (from, to) => {
        linkSync(from, to);
        throw Object.assign(new Error("EEXIST"), { code: "EEXIST", errno: -17 });
      }),
  };
}

let prefixes = 0;

async function s3Place(): Promise<Place> {
  prefixes += 1;
  const prefix = `deep/${prefixes}`;
  const key = (sha256: string): string => `${prefix}/objects/${sha256.slice(0, 2)}/${sha256}`;
  return {
    open: () => S3Store.open(`s3://bucket/${prefix}`, s3.environment),
    get: async (sha256) => s3.objects.get(key(sha256))!,
    set: async (sha256, bytes) => {
      if (bytes === null) s3.objects.delete(key(sha256));
      else s3.objects.set(key(sha256), bytes);
    },
    loseAnswer: () => {
      s3.losses = 1;
    },
  };
}

describe.each([
  ["a directory", directoryPlace],
  ["a bucket", s3Place],
])("%s", (_, place) => {
  test("values come back bit by bit, by their hashes", async () => {
    const store = await (await place()).open();
    const object = await keepValue(store, VALUE);
    expect(await keepValue(store, VALUE)).toEqual(object);
    expect(await keptValue(store, object)).toEqual(VALUE);
    expect(await store.has(object)).toBe(true);
    expect(await store.has({ ...object, bytes: object.bytes + 1 })).toBe(false);
  });

  test("the first record of a name stays until it is forgotten", async () => {
    const store = await (await place()).open();
    expect(await store.record("unit-1")).toBeNull();
    const claims = await Promise.all(["a", "b", "c"].map((text) => store.claim("unit-1", text)));
    expect(claims.filter(Boolean)).toHaveLength(1);
    expect(await store.claim("unit-1", "d")).toBe(false);
    expect(await store.record("unit-1")).toBe(["a", "b", "c"][claims.indexOf(true)]);
    await store.forget("unit-1");
    await store.forget("unit-1");
    expect(await store.record("unit-1")).toBeNull();
  });

  test("a claim whose answer was lost is known again as its owner's", async () => {
    const here = await place();
    const [own, other] = [await here.open(), await here.open()];
    here.loseAnswer();
    expect(await own.claim("unit-1", "same")).toBe(true);
    expect(await other.claim("unit-1", "same")).toBe(false);
    expect(await own.claim("unit-1", "same")).toBe(false);
    expect(await own.record("unit-1")).toBe("same");
  });

  test("all who open a store agree which one it is", async () => {
    const here = await place();
    const [first, second] = await Promise.all([
      storeIdentity(await here.open()),
      storeIdentity(await here.open()),
    ]);
    expect(first).toBe(second);
    expect(await storeIdentity(await (await place()).open())).not.toBe(first);
  });

  test("what is damaged, cut or gone is not given back, and can be kept again", async () => {
    const here = await place();
    const store = await here.open();
    const object = await keepValue(store, VALUE);
    const bytes = await here.get(object.sha256);
    const flipped = Buffer.from(bytes);
    flipped[flipped.length - 1]! ^= 1;
    for (const harmed of [flipped, bytes.subarray(0, -8), null]) {
      await here.set(object.sha256, harmed);
      expect(await keptValue(store, object)).toBeUndefined();
      expect(await store.has(object)).toBe(false);
      await expect(requireValue(store, object)).rejects.toMatchObject({ code: "STORE_FAILED" });
      await keepValue(store, VALUE);
      expect(await keptValue(store, object)).toEqual(VALUE);
    }
  });
});

test("a directory that cannot be a store is refused", async () => {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "file"), "");
  await expect(openStore(join(directory, "file"))).rejects.toMatchObject({
    code: "STORE_FAILED",
    hint: expect.stringMatching(
      /^A parent of the path is a file; .* All machines must be able to read and write it/,
    ),
  });
});

test("a record that is there and cannot be read is not taken for none", async () => {
  const path = await temporaryDirectory();
  const store = await openStore(path);
  const record = join(path, "records", "unit-1");
  await symlink("unit-1", record);
  await expect(store.record("unit-1")).rejects.toMatchObject({
    code: "STORE_FAILED",
    message: `${record}: expected a readable record, got ELOOP`,
  });
  await rm(record);
  await writeFile(record, Buffer.of(0xff, 0xfe));
  expect(await store.record("unit-1")).toBe("\ufffd\ufffd");
});

test("an object that is removed before it is opened is none, and one that cannot be opened is the store's failure", async () => {
  const store = await openStore(await temporaryDirectory());
  const object = await keepValue(store, VALUE);
  const readAfter = (act: (path: string) => Promise<void>): Promise<unknown> =>
    store.read(object, async (path) => {
      await rm(path);
      await act(path);
      return readValue(path, object);
    });
  expect(await readAfter(async () => {})).toBeNull();
  await keepValue(store, VALUE);
  await expect(readAfter((path) => symlink(path, path))).rejects.toMatchObject({
    code: "STORE_FAILED",
    message: expect.stringMatching(/: expected a readable object, got ELOOP$/),
  });
});

test.skipIf(process.getuid?.() === 0)("a record of another user's is said to be one", async () => {
  const path = await temporaryDirectory();
  const store = await openStore(path);
  await store.claim("unit-1", "a");
  const record = join(path, "records", "unit-1");
  await chmod(record, 0);
  await expect(store.record("unit-1")).rejects.toMatchObject({
    code: "STORE_FAILED",
    message: `${record}: expected a readable record, got EACCES`,
    hint: expect.stringContaining("as one user"),
  });
});

test("nothing half written is left in a directory", async () => {
  const path = await temporaryDirectory();
  const store = await openStore(path);
  const failing = store.keep(async (file) => {
    await writeFile(file, "half");
    throw new Error("no more");
  });
  await expect(failing).rejects.toThrow("no more");
  await keepValue(store, VALUE);
  await store.claim("record", "text");
  expect(await readdir(join(path, "tmp"))).toEqual([]);
});

test("what a killed process left half written in a directory is removed a day after its last write", async () => {
  const path = await temporaryDirectory();
  const store = await openStore(path);
  const other = join(path, "tmp", "of somebody else");
  const left = store.keep(async (file) => {
    const hoursPass = async (hours: number): Promise<void> => {
      const then = new Date(Date.now() - hours * 3600 * 1000);
      for (const each of [file, other]) await utimes(each, then, then);
    };
    const isThere = async (): Promise<boolean> => {
      await openStore(path);
      return (await readdir(join(path, "tmp"))).includes(basename(file));
    };
    for (const each of [file, other]) await writeFile(each, "half");
    await hoursPass(23);
    expect(await isThere()).toBe(true);
    await hoursPass(25);
    await writeFile(file, "more");
    expect(await isThere()).toBe(true);
    await hoursPass(25);
    expect(await isThere()).toBe(false);
    throw new Error("killed");
  });
  await expect(left).rejects.toThrow("killed");
  expect(await readdir(join(path, "tmp"))).toEqual([basename(other)]);
});

test("a bucket that fails now and then is asked again, and nothing is left on this machine", async () => {
  const own = async (): Promise<readonly string[]> =>
    (await readdir(tmpdir())).filter((name) => name.startsWith("gprune-store-"));
  const before = await own();
  const store = await (await s3Place()).open();
  s3.failures = 2;
  const object = await keepValue(store, VALUE);
  s3.cuts = 1;
  expect(await keptValue(store, object)).toEqual(VALUE);
  expect(await own()).toEqual(before);
});

test("a full disk of this machine ends a download at once, and is not said to be the bucket's failure", async () => {
  const scratch = await temporaryDirectory();
  const store = await S3Store.open("s3://bucket/full", s3.environment, scratch);
  const object = await keepValue(store, VALUE);
  onTestFinished(() => armFailPoints(null));
  let writes = 0;
  armFailPoints(() => {
    writes += 1;
    throw Object.assign(new Error("full"), { code: "ENOSPC", errno: -28 });
  });
  await expect(keptValue(store, object)).rejects.toMatchObject({
    code: "OUTPUT_FAILED",
    message: expect.stringMatching(/gprune-store-[\w-]+: expected a writable path, got ENOSPC$/),
    hint: expect.stringContaining("disk is full"),
  });
  expect(writes).toBe(1);
  expect(await readdir(scratch)).toEqual([]);
});

test("a place for downloads that cannot be made is named", async () => {
  const file = join(await temporaryDirectory(), "file");
  await writeFile(file, "");
  const store = await S3Store.open("s3://bucket", s3.environment, join(file, "scratch"));
  await expect(keptValue(store, { bytes: 8, sha256: "0".repeat(64) })).rejects.toMatchObject({
    code: "OUTPUT_FAILED",
    message: `${join(file, "scratch")}: expected a writable path, got ENOTDIR`,
  });
});

test("a claim that a bucket answered in none of its attempts is the same when it is made again", async () => {
  const own = await MockS3.start();
  onTestFinished(() => own.close());
  const store = await S3Store.open("s3://bucket", own.environment);
  own.losses = 5;
  await expect(store.claim("unit-1", "a")).rejects.toBeInstanceOf(StoreAway);
  expect(await store.claim("unit-1", "a")).toBe(true);
});

test("a record whose download breaks off is asked for again, and then said to be the store's failure", async () => {
  const own = await MockS3.start();
  onTestFinished(() => own.close());
  const store = await S3Store.open("s3://bucket", own.environment);
  await store.claim("unit-1", "the text of a record");
  own.cuts = 1;
  expect(await store.record("unit-1")).toBe("the text of a record");
  own.cuts = 100;
  await expect(store.record("unit-1")).rejects.toMatchObject({ code: "STORE_FAILED" });
});

test("a record that has no end is not read to it", { timeout: 30_000 }, async () => {
  const own = await MockS3.start();
  onTestFinished(() => own.close());
  const store = await S3Store.open("s3://bucket", own.environment);
  own.endless = "records/";
  await expect(store.record("unit-1")).rejects.toMatchObject({
    code: "STORE_FAILED",
    message: expect.stringContaining("a record of more than 65536 bytes"),
  });
});

test("connections are free again when a bucket says at length that something is missing", async () => {
  const own = await MockS3.start();
  onTestFinished(() => own.close());
  own.missing = Buffer.alloc(2 ** 18);
  const store = await S3Store.open("s3://bucket", own.environment);
  for (let i = 0; i < 5; i++) {
    expect(await store.record("unit-1")).toBeNull();
    expect(await keptValue(store, { bytes: 8, sha256: "0".repeat(64) })).toBeUndefined();
  }
  // One more may be closing.
  await expect.poll(() => own.connections()).toBeLessThanOrEqual(2);
});

test("buckets without credentials, with wrong ones, and addresses that are none are refused", async () => {
  const open = (address: string, change: Readonly<Record<string, string>> = {}): Promise<Store> =>
    S3Store.open(address, { ...s3.environment, ...change });
  await expect(open("s3://bucket", { AWS_ACCESS_KEY_ID: "" })).rejects.toMatchObject({
    code: "BAD_ARGUMENT",
  });
  await expect(open("s3://bucket", { AWS_ACCESS_KEY_ID: "other" })).rejects.toMatchObject({
    code: "STORE_FAILED",
    message: expect.not.stringContaining(CREDENTIALS.AWS_SECRET_ACCESS_KEY),
  });
  for (const address of ["s3://", "s3://Bucket", "s3://bucket/a?b", "s3://bucket/../other"]) {
    await expect(open(address)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  }
});
