/**
 * Hidden states on their way between units of statistics, which have the shards of halves of sets, and units of refitting, which
 * have whole sets: the same windows in other micro-batches.
 */
import { microBatches } from "../graph/forward.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { RefitSet } from "./unit.ts";

/** Micro-batches of all sets, each set's by itself, with their windows' places. */
type Layout = readonly { readonly set: number; readonly places: readonly number[] }[];

/** Hidden states of the micro-batches of whole sets, from those of the sets' shards, in order. */
export function statesOfSets(
  sets: readonly RefitSet[],
  states: readonly (readonly (readonly Tensor[])[])[],
): readonly Tensor[] {
  const shards = shardLayout(sets);
  return regrouped(shards, states.flat(2), setLayout(sets));
}

/** Hidden states of each shard of each set, from those of the micro-batches of whole sets. */
export function statesOfShards(
  sets: readonly RefitSet[],
  states: readonly Tensor[],
): readonly (readonly (readonly Tensor[])[])[] {
  const tensors = [...regrouped(setLayout(sets), states, shardLayout(sets))];
  return sets.map(({ windows, shards }) =>
    shards.map(({ places }) => {
      const own = microBatches(places.map((place) => windows[place]!));
      return tensors.splice(0, own.length);
    }),
  );
}

function setLayout(sets: readonly RefitSet[]): Layout {
  return sets.flatMap(({ windows }, set) => layoutOf(set, windows, [...windows.keys()]));
}

function shardLayout(sets: readonly RefitSet[]): Layout {
  return sets.flatMap(({ windows, shards }, set) =>
    shards.flatMap(({ places }) => layoutOf(set, windows, places)),
  );
}

function layoutOf(set: number, windows: readonly Int32Array[], places: readonly number[]): Layout {
  let next = 0;
  return microBatches(places.map((place) => windows[place]!)).map(({ batch }) => {
    next += batch;
    return { set, places: places.slice(next - batch, next) };
  });
}

/** The same windows in other micro-batches; [B, T, C] each. */
function regrouped(from: Layout, states: readonly Tensor[], to: Layout): readonly Tensor[] {
  const windows = new Map<string, Float32Array>();
  for (const [index, { set, places }] of from.entries()) {
    const { data } = states[index]!;
    const size = data.length / places.length;
    for (const [row, place] of places.entries()) {
      windows.set(`${set} ${place}`, data.subarray(row * size, (row + 1) * size));
    }
  }
  const channels = states[0]?.shape[2] ?? 1;
  return to.map(({ set, places }) => {
    const own = places.map((place) => windows.get(`${set} ${place}`)!);
    const size = own[0]!.length;
    const data = new Float32Array(places.length * size);
    for (const [row, values] of own.entries()) data.set(values, row * size);
    return { shape: [places.length, size / channels, channels], data };
  });
}
