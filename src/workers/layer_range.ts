/**
 * A pass over a range of layers. To the pass it is a run that was interrupted: it goes on from the hidden states before
 * the range, and those after it are handed over where progress would be kept.
 */

import type { Checkpoints } from "../base/stages.ts";
import type { CalibrationState } from "../calibrate/calibrate.ts";
import type { AnyTensor } from "../tensor/stash.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LayerRange } from "./unit.ts";

interface RangeOfModel extends LayerRange {
  /** Layers of the model. */
  readonly layers: number;
}

/**
 * @param states - `before`: takes the hidden states of every micro-batch before `first`, as large as all texts, which
 *   nothing else may hold on to; null at the embeddings. `after`: is given those behind the range, unless it reaches
 *   the end of the model
 */
export function overLayers(
  { first, end, layers }: RangeOfModel,
  states: {
    readonly before: () => readonly Tensor[] | null;
    readonly after: (hidden: readonly AnyTensor[]) => Promise<void>;
  },
): Checkpoints<CalibrationState> {
  return {
    restore: async () => {
      const hidden = states.before();
      return hidden === null ? undefined : { next: first, hidden, stats: new Map(), moments: new Map() };
    },
    reached: async (state) => {
      const { next, hidden } = state();
      if (next === end && end < layers) await states.after(hidden);
    },
  };
}
