/** Computes units of moments: means and covariances of the inputs of output projections, over a range of layers. */
import { type MeasuredSet, measureActivations } from "../calibrate/calibrate.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { microBatches } from "../graph/decoder/forward.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { keepValue, requireValue, type Store } from "../io/store/store.ts";
import type { Model } from "../model/model.ts";
import { loaded } from "../tensor/stash.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { keepMoments } from "./kept_moments.ts";
import { overLayers } from "./layer_range.ts";
import type { MomentShard, MomentsUnit, UnitResult } from "./unit.ts";

/** The model that is pruned, the runtime that computes, and the store of inputs and outputs. */
export interface UnitContext {
  readonly dense: Model;
  readonly runtime: Runtime;
  readonly store: Store;
}

/**
 * Computes the moments of a range of layers.
 * @returns `moments`; `after`: digests of every shard's hidden states after the range, which the run compares with
 *   those of the statistics units
 */
export async function momentsUnit(
  { shards: object, first, end }: MomentsUnit,
  { dense, runtime, store }: UnitContext,
): Promise<UnitResult> {
  const shards = (await requireValue(store, object)) as readonly MomentShard[];
  let before = first === 0 ? null : await readStates(store, shards);
  let after: readonly Tensor[] = [];
  const range = { first, end, layers: dense.spec.layers.length };
  const checkpoints = overLayers(range, {
    before: () => {
      const hidden = before;
      before = null;
      return hidden;
    },
    after: async (hidden) => {
      after = await Promise.all(hidden.map(loaded));
    },
  });
  const sets = shards.map(({ set, windows, tokenWeight }, index): MeasuredSet => {
    const owners = windows.map(() => null);
    const moments = { windows: windows.length, tokenWeight };
    return { name: `${index}`, partOf: set, windows, owners, moments };
  });
  const { moments } = await measureActivations(new DecoderRunner(dense, runtime), sets, { checkpoints, end });
  const digests = after.length === 0 ? [] : await keepStates(store, shards, after);
  return { moments: await keepMoments(store, moments), after: await keepValue(store, digests) };
}

/** Hidden states of the micro-batches of all shards, one shard after the other. */
async function readStates(store: Store, shards: readonly MomentShard[]): Promise<readonly Tensor[]> {
  const states: Tensor[] = [];
  for (const { hidden } of shards)
    states.push(...((await requireValue(store, hidden!)) as readonly Tensor[]));
  return states;
}

/** Writes an object with the hidden states of each shard. @param states - of the micro-batches of all shards */
async function keepStates(
  store: Store,
  shards: readonly MomentShard[],
  states: readonly Tensor[],
): Promise<readonly Digest[]> {
  const digests: Digest[] = [];
  let next = 0;
  for (const { windows } of shards) {
    const count = microBatches(windows).length;
    digests.push(await keepValue(store, states.slice(next, next + count)));
    next += count;
  }
  return digests;
}
