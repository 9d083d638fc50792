import fc from "fast-check";
import { expect, test } from "vitest";
import { halvesOf } from "../calibrate/evidence.ts";
import { shardsOf } from "../calibrate/shards.ts";
import { microBatches } from "../graph/forward.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { statesOfSets, statesOfShards } from "./refit_states.ts";
import type { RefitSet } from "./unit.ts";

const CHANNELS = 2;

/** Windows whose first token says which they are. */
function setOf(name: string, lengths: readonly number[], maxTokens: number): RefitSet {
  const windows = lengths.map((length, w) => new Int32Array(length).fill(w));
  const shards = halvesOf({ name, windows }).flatMap(({ windows: own, places }) => {
    let next = 0;
    return shardsOf(own, maxTokens).map((shard) => {
      next += shard.length;
      return { places: places.slice(next - shard.length, next), hidden: null };
    });
  });
  return { name, weight: 1, windows, shards };
}

/** Hidden states that say which token they are of. */
function statesOf(set: number, windows: readonly Int32Array[]): readonly Tensor[] {
  return microBatches(windows).map(({ ids, batch, tokens }) => {
    const data = Float32Array.from({ length: ids.length * CHANNELS }, (_, i) => {
      const token = Math.floor(i / CHANNELS);
      return 1e5 * set + 1e3 * ids[token]! + ((token % tokens) * CHANNELS + (i % CHANNELS)) / 8;
    });
    return { shape: [batch, tokens, CHANNELS], data };
  });
}

test("states of shards are those of whole sets in other micro-batches, both ways", () => {
  const lengths = fc.array(fc.constantFrom(64, 64, 400, 700), { minLength: 1, maxLength: 9 });
  fc.assert(
    fc.property(
      fc.array(lengths, { minLength: 1, maxLength: 3 }),
      fc.constantFrom(64, 1500),
      (sets, most) => {
        const all = sets.map((own, d) => setOf(`${d}`, own, most));
        const whole = all.flatMap(({ windows }, d) => statesOf(d, windows));
        const shards = all.map(({ windows, shards: own }, d) =>
          own.map(({ places }) =>
            statesOf(
              d,
              places.map((place) => windows[place]!),
            ),
          ),
        );
        expect(statesOfShards(all, whole)).toEqual(shards);
        expect(statesOfSets(all, shards)).toEqual(whole);
      },
    ),
    { numRuns: 30 },
  );
});
