import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { recordingReads } from "../../test/recording_store.ts";
import { openStore } from "../io/store/open_store.ts";
import { loaded } from "../tensor/stash.ts";
import { keepRecipe, keptRecipe } from "./recipes.ts";

const tensors = new Map([["w", { shape: [2], data: Float32Array.of(1, 2) }]]);

/** A new store, and the objects that are read from it. */
async function newStore(): Promise<ReturnType<typeof recordingReads>> {
  return recordingReads(await openStore(join(await temporaryDirectory(), "store")));
}

test("tensors that come from a store are kept there again without being read, and elsewhere with it", async () => {
  const { store, reads } = await newStore();
  const first = await keepRecipe(store, { tensors });
  const recipe = await keptRecipe(store, first);
  expect(reads).toHaveLength(1);
  expect(await keepRecipe(store, recipe)).toEqual(first);
  expect(reads).toHaveLength(1);
  const { store: other } = await newStore();
  const { tensors: found } = await keptRecipe(other, await keepRecipe(other, recipe));
  expect(reads).toHaveLength(2);
  expect(await loaded(found!.get("w")!)).toEqual(tensors.get("w"));
});
