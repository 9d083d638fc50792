/**
 * The windows of every training step: a pure function of sets and seed, so that an interrupted run goes on with exactly
 * the windows it would have had.
 */

import { requireCount, requireSome } from "../base/arguments.ts";
import type { WeightedTokenSet } from "../calibrate/calibrate.ts";
import { requireCounting } from "../calibrate/measured_sets.ts";
import { windowsInTurn } from "../calibrate/windows.ts";
import { largestBy } from "../tensor/statistics.ts";

/**
 * The windows of `steps` batches of `size`. The next window is always from the set that is furthest behind its share; a
 * set's windows come in a new random order in every epoch.
 * @throws GpruneError BAD_ARGUMENT for no sets, a set without tokens or weight, or numbers that are not positive
 * integers
 */
export function planBatches(
  sets: readonly WeightedTokenSet[],
  { steps, size, seed }: { readonly steps: number; readonly size: number; readonly seed: number },
): readonly (readonly Int32Array[])[] {
  requireSome("calibration sets", sets);
  for (const set of sets) requireCounting(set);
  for (const [what, value] of Object.entries({ steps, windows: size })) requireCount(what, value);
  const total = sets.reduce((sum, { weight }) => sum + weight, 0);
  const queues = sets.map((set) => ({ share: set.weight / total, drawn: 0, next: windowQueue(set, seed) }));
  const draw = (place: number): Int32Array => {
    const queue = largestBy(queues, ({ share, drawn }) => (place + 1) * share - drawn);
    return queue.next(queue.drawn++);
  };
  return Array.from({ length: steps }, (_, step) =>
    Array.from({ length: size }, (_, i) => draw(step * size + i)),
  );
}

/** Gives a set's windows one after the other, for places 0, 1, 2, ...; every epoch is shuffled when it begins. */
function windowQueue({ name, windows }: WeightedTokenSet, seed: number): (place: number) => Int32Array {
  const count = windows.length;
  let epoch: readonly Int32Array[] = [];
  return (place) => {
    const at = place % count;
    if (at === 0) epoch = windowsInTurn(windows, { start: place, count }, { seed, label: `distill ${name}` });
    return epoch[at]!;
  };
}
