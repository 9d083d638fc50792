/**
 * Parts of a set of windows that are added up apart and then one after another, so that the order of additions, and
 * with it every bit, is the same wherever the parts are computed. A part is whole micro-batches, so those are the same
 * too.
 */
import { microBatches } from "../graph/decoder/forward.ts";

/** Tokens of a shard at most, unless one micro-batch has more: enough to be worth reading a layer's weights for. */
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
    const own = windows.slice(next, next + batch);
    next += batch;
    if (last !== undefined && tokens + ids.length <= maxTokens) {
      last.push(...own);
      tokens += ids.length;
    } else {
      shards.push(own);
      tokens = ids.length;
    }
  }
  return shards;
}
