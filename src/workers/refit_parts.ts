/** What units of refitting give, one range of layers each, and whether together they are what one process computes. */
import type { ModelRecipe } from "../calibrate/passes.ts";
import type { Digest } from "../io/stage_file.ts";
import type { Refitted } from "../recover/least_squares.ts";
import type { AnyTensor } from "../tensor/stash.ts";

/** What a unit of refitting gave. */
export interface RefitPart extends ModelRecipe {
  /** Hidden states of every shard after its range. */
  readonly after: readonly Digest[];
}

/**
 * Ranges of layers as one; null unless every range ended with the states that the next one began with. Then the first one, which
 * began with the embeddings as a single process does, and all after it have computed what that process computes, whatever
 * programs and micro-batches the units of statistics have.
 * @param known - states of every shard before each range; null before the first
 */
export function joinedParts(
  parts: readonly RefitPart[],
  known: readonly (readonly (Digest | null)[])[],
): Refitted | null {
  const isSameStream = parts.slice(0, -1).every(({ after }, range) => {
    const next = known[range + 1]!;
    return after.length === next.length && after.every(({ sha256 }, shard) => sha256 === next[shard]?.sha256);
  });
  if (!isSameStream) return null;
  return {
    layers: parts.flatMap(({ layers = [] }) => layers),
    tensors: new Map(parts.flatMap(({ tensors = new Map<string, AnyTensor>() }) => [...tensors])),
  };
}
