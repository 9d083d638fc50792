/**
 * Restricts a pass to a range of layers by its checkpoints: the pass resumes from the hidden states before the range,
 * and the checkpoint after the range hands over those behind it.
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
 * Checkpoints with which a pass goes through the range only.
 * @param states - `before` gives the hidden states of every micro-batch before `first`, null at the embeddings; they
 *   are as large as all texts, so nothing else may hold on to them. `after` receives those behind the range, unless it
 *   ends with the model
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
