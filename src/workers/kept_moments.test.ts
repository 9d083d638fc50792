import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { inMemory } from "../../test/moments.ts";
import type { Moments } from "../calibrate/moments.ts";
import { openStore } from "../io/store/open_store.ts";
import { StoredFloats } from "../tensor/stash.ts";
import { keepMoments, keptMoments } from "./kept_moments.ts";

const moments: Moments = new Map(
  ["layers.0.kv", "layers.0.ffn"].map((id, index) => [
    id,
    {
      mean: Float64Array.of(index, 1 / 3),
      squares: Float64Array.of(2, 3),
      covariance: { shape: [3], data: Float32Array.of(1, index, 0.1) },
    },
  ]),
);

test("moments come back bit by bit, read when they are asked for, all or some", async () => {
  const store = await openStore(join(await temporaryDirectory(), "store"));
  const found = await keptMoments(store, await keepMoments(store, moments));
  for (const { covariance } of found.values()) expect(covariance.data).toBeInstanceOf(StoredFloats);
  expect(await inMemory(found)).toEqual(moments);
  const some = new Map([...found].slice(1));
  const kept = await keptMoments(store, await keepMoments(store, some));
  expect([...(await inMemory(kept))]).toEqual([...moments].slice(1));
});
