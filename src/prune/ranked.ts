/**
 * Removal by one ranking of all units of a model, from values that are comparable across spaces; shared by the `global`
 * and the learned allocation. In ascending order, a unit is removed if its parameters still fit the budget.
 */
import type { Shape } from "../base/choices.ts";
import { prunableParameters } from "../model/spaces.ts";
import { queuesOf, type RemovalRequest, removalBudget } from "./allocation.ts";
import type { Keep } from "./plan.ts";
import {
  blocksOf,
  canGive,
  type RankedSpace,
  type RemovalBlock,
  RemovalLedger,
  type RemovalQueue,
  spendRest,
  unitsInBlocks,
} from "./removal.ts";
import { removeUniform } from "./uniform_shape.ts";

/** Removal by the shape of the result. */
const REMOVALS: Readonly<Record<Shape, (ranked: readonly RankedSpace[], request: RemovalRequest) => Keep>> = {
  "per-layer": removePerLayer,
  uniform: removeUniform,
};

/**
 * Kept units of every space that loses some, in the requested shape; the laws of allocation.ts hold.
 * @throws GpruneError BAD_ARGUMENT for a sparsity that the minimum widths do not allow, or shape uniform for a model
 *   whose layers differ
 */
export function removeRanked(ranked: readonly RankedSpace[], request: RemovalRequest): Keep {
  return REMOVALS[request.shape ?? "per-layer"](ranked, request);
}

/** Whether these spaces can give the budget, with shape `per-layer`. */
export function canRemove(ranked: readonly RankedSpace[], request: RemovalRequest): boolean {
  return canGive(queuesOf(ranked, request), request.sparsity * prunableParameters(request.spec));
}

function removePerLayer(ranked: readonly RankedSpace[], request: RemovalRequest): Keep {
  const queues = queuesOf(ranked, request);
  const ledger = new RemovalLedger(queues);
  ledger.grant(removalBudget(request, queues));
  const valued = queues.flatMap((queue, index) => valuedBlocks(queue, ranked[index]!.values));
  const blocks = valued.sort((a, b) => a.value - b.value);
  for (const { queue } of blocks) {
    if (ledger.fits(queue)) ledger.take(queue);
    // KV groups that do not fit are skipped; a block of neurons that does not fit ends the ranking.
    else if (queue.space.kind === "ffn") break;
  }
  spendRest(ledger, blocks);
  return ledger.keep();
}

/**
 * A queue's blocks, each with the mean value of its units. Rounding may put a mean below that of an equal block
 * before it; it is then raised to that, so that sorting keeps the queue's order.
 */
function valuedBlocks(
  queue: RemovalQueue,
  values: Float64Array,
): readonly (RemovalBlock & { readonly value: number })[] {
  let least = Number.NEGATIVE_INFINITY;
  return blocksOf(queue).map((block) => {
    const units = queue.order.slice(unitsInBlocks(queue, block.index), unitsInBlocks(queue, block.index + 1));
    const mean = units.reduce((sum, unit) => sum + values[unit]!, 0) / units.length;
    least = Math.max(least, mean);
    return { ...block, value: least };
  });
}
