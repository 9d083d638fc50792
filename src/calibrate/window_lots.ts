/**
 * Forward and backward passes over the windows of several sets: as many windows at once as there is room for their
 * layer inputs and activations, with the results of each window summed by set, in order.
 */

import { requireOwnNames } from "../base/arguments.ts";
import type { OnProgress, ProgressEvent, Reporting } from "../base/progress.ts";
import type { Checkpoints } from "../base/stages.ts";
import type { Keeping } from "../graph/decoder/backward.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { batchTokens, microBatches, type TokenBatch, tokensOfSets } from "../graph/decoder/forward.ts";
import { inputBytes, keepsActivations, keptBytes } from "../graph/decoder/kept_activations.ts";
import { collectIfGrown, inputStash } from "../graph/runtime/memory_policy.ts";
import { calibrationSetText, type TokenSet } from "./calibrate.ts";

/** Number of windows, and the sum of their mean next-token cross entropies, nats. */
export interface WindowSums {
  readonly windows: number;
  readonly loss: number;
}

/** Sums between two lots of windows. */
export interface LotsState<S> {
  /** Sums of every set by name, over the windows that are done; windows are taken in order. */
  readonly sets: ReadonlyMap<string, S>;
}

/** Functions that compute and add results of windows, progress and checkpoints. */
export interface WindowWork<S extends WindowSums> extends Reporting {
  /** Sums of no windows. */
  readonly empty: () => S;
  /** Results of every window of some micro-batches, in order. */
  readonly compute: (batches: readonly TokenBatch[], options: Keeping & Reporting) => Promise<Iterable<S>>;
  /** Adds a window to sums, which it may change. */
  readonly add: (sums: S, window: S) => S;
  /** Saves the state between lots. */
  readonly checkpoints: Checkpoints<LotsState<S>>;
}

/** The sums of every set, by name. @throws GpruneError BAD_ARGUMENT for two sets of one name */
export async function sumsBySet<S extends WindowSums>(
  runner: DecoderRunner,
  sets: readonly TokenSet[],
  { empty, compute, add, stage, onProgress, checkpoints }: WindowWork<S>,
): Promise<ReadonlyMap<string, S>> {
  requireOwnNames("calibration sets", sets);
  const result = new Map((await checkpoints.restore())?.sets);
  const queue = sets.flatMap((set) => batchesLeft(set, result.get(set.name)));
  for (const { name } of sets) if (!result.has(name)) result.set(name, empty());
  const activations = keepsActivations(runner.runtime);
  const { spec } = runner.model;
  const tokenBytes = inputBytes(spec) + (activations ? keptBytes(spec) : 0);
  const total = 2 * tokensOfSets(sets);
  let done = total - 2 * batchTokens(queue);
  for (let start = 0; start < queue.length; ) {
    const stash = await inputStash(runner.memory, "layer inputs");
    const lot = lotFrom(queue.slice(start), runner.memory.lotBytes / tokenBytes);
    // The end is reported below, with the losses.
    const report: OnProgress = (event) => {
      if (done + event.done < total) onProgress({ ...event, done: done + event.done, total });
    };
    const windows = await compute(lot, { stash, activations, stage, onProgress: report });
    await stash.close();
    const owners = lot.flatMap(({ batch, set }) => new Array<string>(batch).fill(set));
    let index = 0;
    for (const window of windows) {
      const name = owners[index++]!;
      result.set(name, add(result.get(name)!, window));
    }
    start += lot.length;
    collectIfGrown(runner.memory);
    done += 2 * batchTokens(lot);
    await checkpoints.reached(() => ({ sets: result }));
  }
  onProgress({ stage, done: total, total, unit: "tokens", ...lossesOf(result) });
  return result;
}

/** A micro-batch and its set. */
interface OwnedBatch extends TokenBatch {
  readonly set: string;
}

/** Micro-batches of a set that are not yet in its sums. */
function batchesLeft(set: TokenSet, sums: WindowSums | undefined): readonly OwnedBatch[] {
  const done = sums?.windows ?? 0;
  let windows = 0;
  return microBatches(set.windows, calibrationSetText(set))
    .filter(({ batch }) => {
      windows += batch;
      return windows > done;
    })
    .map((batch) => ({ ...batch, set: set.name }));
}

/** The leading micro-batches that have at most `maxTokens` tokens together, at least one. */
function lotFrom(batches: readonly OwnedBatch[], maxTokens: number): readonly OwnedBatch[] {
  let tokens = 0;
  const end = batches.findIndex(({ ids }, index) => {
    tokens += ids.length;
    return index > 0 && tokens > maxTokens;
  });
  return end < 0 ? batches : batches.slice(0, end);
}

/** Mean loss of every set, nats per token, for progress events. */
function lossesOf(sets: ReadonlyMap<string, WindowSums>): Pick<ProgressEvent, "detail" | "values"> {
  const begun = [...sets].filter(([, { windows }]) => windows > 0);
  const values = begun.map(([name, { loss, windows }]) => ({ name, value: loss / windows }));
  return {
    detail: `loss ${values.map(({ name, value }) => `${name} ${value.toFixed(2)}`).join(", ")}`,
    values,
  };
}
