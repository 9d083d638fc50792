/**
 * Shards of a set of windows. Each is summed by itself and the sums are added in order, so that the order of additions,
 * and with it every bit, is the same wherever shards are computed. A shard is whole micro-batches, so those are the
 * same too.
 */
import { microBatches } from "../graph/decoder/forward.ts";

/** Largest number of tokens in a shard of several micro-batches: enough to be worth reading a layer's weights for. */
export const SHARD_TOKENS = 4096;

/** Windows, each [T], as shards of whole micro-batches, keeping their order. */
export function shardsOf(
  windows: readonly Int32Array[],
  maxTokens: number = SHARD_TOKENS,
): readonly (readonly Int32Array[])[] {
  const shards: Int32Array[][] = [];
  let tokens = 0;
  let next = 0;
  for (const { ids, batch } of microBatches(windows)) {
    const last = shards.at(-1);
    const batchWindows = windows.slice(next, next + batch);
    next += batch;
    if (last !== undefined && tokens + ids.length <= maxTokens) {
      last.push(...batchWindows);
      tokens += ids.length;
    } else {
      shards.push(batchWindows);
      tokens = ids.length;
    }
  }
  return shards;
}
