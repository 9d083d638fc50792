import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { openStore } from "../io/store/open_store.ts";
import { keepValue, keptValue, type Store, storeFailed } from "../io/store/store.ts";
import { patientStore } from "./patient_store.ts";

/** A store whose next calls fail with errors of these codes. */
async function failingStore(codes: string[]): Promise<Store> {
  const store = await openStore(join(await temporaryDirectory(), "store"));
  const after = <T>(act: () => Promise<T>): Promise<T> => {
    const code = codes.shift();
    if (code === undefined) return act();
    return Promise.reject(storeFailed(store.name, Object.assign(new Error("not now"), { code })));
  };
  return {
    name: store.name,
    keep: (fill) => after(() => store.keep(fill)),
    read: (object, use) => after(() => store.read(object, use)),
    has: (object) => after(() => store.has(object)),
    discard: (object) => after(() => store.discard(object)),
    claim: (name, text) => after(() => store.claim(name, text)),
    record: (name) => after(() => store.record(name)),
    forget: (name) => after(() => store.forget(name)),
  };
}

/** Replaces timers, so that pauses end at once. */
function withoutPauses(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  const clock = setInterval(() => vi.advanceTimersByTime(3000), 1);
  onTestFinished(() => {
    clearInterval(clock);
    vi.useRealTimers();
  });
}

test("a store that is away for a while is asked again, whatever is asked of it", async () => {
  withoutPauses();
  const codes: string[] = [];
  const store = patientStore(await failingStore(codes));
  const twice = <T>(act: () => Promise<T>): Promise<T> => {
    codes.push("ECONNREFUSED", "ESTALE");
    return act();
  };
  const object = await twice(() => keepValue(store, [1, 2]));
  expect(await twice(() => keptValue(store, object))).toEqual([1, 2]);
  expect(await twice(() => store.has(object))).toBe(true);
  await twice(() => store.discard(object));
  expect(await store.has(object)).toBe(false);
  expect(await twice(() => store.claim("name", "text"))).toBe(true);
  expect(await twice(() => store.record("name"))).toBe("text");
  await twice(() => store.forget("name"));
  expect(await store.record("name")).toBeNull();
  expect(codes).toEqual([]);
});

test("a store that stays away fails after a while, one that forbids access at once", async () => {
  withoutPauses();
  const away = patientStore(await failingStore(Array.from({ length: 100 }, () => "EIO")), {
    patienceSeconds: 30,
  });
  await expect(away.record("name")).rejects.toMatchObject({ code: "STORE_FAILED" });
  const codes = ["EACCES", "EIO"];
  await expect(patientStore(await failingStore(codes)).record("name")).rejects.toMatchObject({
    code: "STORE_FAILED",
  });
  expect(codes).toEqual(["EIO"]);
});

test("nobody waits for a store once the run is told to stop", async () => {
  const end = new AbortController();
  const store = patientStore(await failingStore(["EIO", "EIO"]), { signal: end.signal });
  const asked = store.record("name");
  end.abort();
  await expect(asked).rejects.toMatchObject({ code: "INTERRUPTED" });
});
