import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { openStore } from "../io/store/open_store.ts";
import type { Store } from "../io/store/store.ts";
import { loaded } from "../tensor/stash.ts";
import { keepRecipe, keptRecipe } from "./recipes.ts";

const tensors = new Map([["w", { shape: [2], data: Float32Array.of(1, 2) }]]);

/** A store that counts reads of objects. */
async function countingStore(): Promise<{ readonly store: Store; readonly reads: () => number }> {
  const own = await openStore(join(await temporaryDirectory(), "store"));
  let count = 0;
  const store: Store = {
    name: own.name,
    keep: (fill) => own.keep(fill),
    read: (object, use) => {
      count += 1;
      return own.read(object, use);
    },
    has: (object) => own.has(object),
    discard: (object) => own.discard(object),
    claim: (name, text) => own.claim(name, text),
    record: (name) => own.record(name),
    forget: (name) => own.forget(name),
  };
  return { store, reads: () => count };
}

test("tensors that come from a store are kept there again without being read, and elsewhere with it", async () => {
  const { store, reads } = await countingStore();
  const first = await keepRecipe(store, { tensors });
  const recipe = await keptRecipe(store, first);
  expect(reads()).toBe(1);
  expect(await keepRecipe(store, recipe)).toEqual(first);
  expect(reads()).toBe(1);
  const { store: other } = await countingStore();
  const { tensors: found } = await keptRecipe(other, await keepRecipe(other, recipe));
  expect(reads()).toBe(2);
  expect(await loaded(found!.get("w")!)).toEqual(tensors.get("w"));
});
