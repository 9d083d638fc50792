import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/file_faults.ts";
import { openStore } from "./open_store.ts";
import { keepValue, keptValue, requireValue, type Store, storeIdentity } from "./store.ts";

const VALUE = { numbers: Float64Array.of(1, -0, Number.NaN), names: new Map([["a", Int32Array.of(3)]]) };

async function directoryStore(): Promise<{ readonly store: Store; readonly path: string }> {
  const path = join(await temporaryDirectory(), "deep", "store");
  return { store: await openStore(path), path };
}

test("values come back bit by bit, by their hashes, and equal ones are one object", async () => {
  const { store, path } = await directoryStore();
  const object = await keepValue(store, VALUE);
  expect(await keepValue(store, VALUE)).toEqual(object);
  expect(await keptValue(store, object)).toEqual(VALUE);
  expect(await store.has(object)).toBe(true);
  expect(await readdir(join(path, "objects", object.sha256.slice(0, 2)))).toEqual([object.sha256]);
  expect(await readdir(join(path, "tmp"))).toEqual([]);
});

test("the first record of a name stays until it is forgotten", async () => {
  const { store } = await directoryStore();
  expect(await store.record("unit-1")).toBeNull();
  const claims = await Promise.all(["a", "b", "c"].map((text) => store.claim("unit-1", text)));
  expect(claims.filter(Boolean)).toHaveLength(1);
  expect(await store.claim("unit-1", "d")).toBe(false);
  expect(await store.record("unit-1")).toBe(["a", "b", "c"][claims.indexOf(true)]);
  await store.forget("unit-1");
  await store.forget("unit-1");
  expect(await store.record("unit-1")).toBeNull();
});

test("all who open a store agree which one it is", async () => {
  const { store, path } = await directoryStore();
  const [first, second] = await Promise.all([storeIdentity(store), storeIdentity(await openStore(path))]);
  expect(first).toBe(second);
  expect(await storeIdentity((await directoryStore()).store)).not.toBe(first);
});

test("what is damaged, cut or gone is not given back, and can be kept again", async () => {
  const { store, path } = await directoryStore();
  const object = await keepValue(store, VALUE);
  const file = join(path, "objects", object.sha256.slice(0, 2), object.sha256);
  const bytes = await readFile(file);
  const harms = [
    () =>
      writeFile(
        file,
        bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)),
      ),
    () => truncate(file, bytes.length - 8),
    () => rm(file),
  ];
  for (const harm of harms) {
    await harm();
    expect(await keptValue(store, object)).toBeUndefined();
    await expect(requireValue(store, object)).rejects.toMatchObject({ code: "STORE_FAILED" });
    await keepValue(store, VALUE);
    expect(await keptValue(store, object)).toEqual(VALUE);
  }
});

test("a place that cannot be a store is refused", async () => {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "file"), "");
  await expect(openStore(join(directory, "file"))).rejects.toMatchObject({ code: "STORE_FAILED" });
});
