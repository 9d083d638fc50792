/**
 * Shape uniform: every layer keeps the same number of KV groups and the same number of neurons, as stock classes of other
 * programs build them. Which units go inside a layer is the ranking's; what is decided here is the split of the budget
 * between attention and FFN.
 *
 * A split takes g groups and then as many neurons (blocks of `roundTo`) from every layer as the budget lasts. Of the splits
 * that leave less than one neuron (block) a layer unspent the one with the smallest
 *
 *   sum of value * parameters over the units that go
 *
 * wins, fewer groups first: the sum that the same ranking without this constraint makes smallest. For learned sparsity it
 * is the removed marginal loss.
 */
import { GpruneError } from "../errors.ts";
import type { SpaceKind } from "../model/spaces.ts";
import { hasUniformWidths, type ModelSpec } from "../model/spec.ts";
import { queuesOf, type RemovalRequest, removalBudget } from "./allocation.ts";
import type { Keep } from "./plan.ts";
import { type RankedSpace, RemovalLedger, type RemovalQueue, unitsInBlocks, unranked } from "./removal.ts";

/** Blocks that every space of a kind gives. */
type Split = Readonly<Record<SpaceKind, number>>;

/**
 * Kept units of every space that loses some.
 * @throws GpruneError BAD_ARGUMENT for a model whose layers differ, some layers' spaces alone, or a sparsity that the minimum
 *   widths do not allow
 */
export function removeUniform(ranked: readonly RankedSpace[], request: RemovalRequest): Keep {
  const queues = queuesOf(ranked, request);
  const splits = splitsOf(queues, request);
  const losses = splits.map((split) =>
    queues.reduce(
      (sum, queue, index) => sum + lossOf(queue, split[queue.space.kind], ranked[index]!.values),
      0,
    ),
  );
  const chosen = splits[losses.indexOf(Math.min(...losses))]!;
  const ledger = new RemovalLedger(queues);
  for (const queue of queues) {
    for (let block = 0; block < chosen[queue.space.kind]; block++) ledger.take(queue);
  }
  return ledger.keep();
}

/** The specs that `removeUniform` may end with, whatever the ranking. @throws as it does */
export function uniformOutcomes(request: RemovalRequest): readonly ModelSpec[] {
  const queues = queuesOf(unranked(request.spec), request);
  return splitsOf(queues, request).map((split) => {
    const removed = (kind: SpaceKind): number =>
      unitsInBlocks(queues.find(({ space }) => space.kind === kind)!, split[kind]);
    const layers = request.spec.layers.map((layer) => ({
      ...layer,
      neurons: layer.neurons - removed("ffn"),
      kvGroups: layer.kvGroups - removed("kv"),
    }));
    return { ...request.spec, layers };
  });
}

/** The splits that meet the budget to within a block in every layer; where none does, the one that comes nearest. */
function splitsOf(queues: readonly RemovalQueue[], request: RemovalRequest): readonly Split[] {
  requireAlike(request.spec);
  const budget = removalBudget(request, queues);
  const ofKind = (kind: SpaceKind): readonly RemovalQueue[] =>
    queues.filter(({ space }) => space.kind === kind);
  const neurons = costs(ofKind("ffn"));
  const block = ofKind("ffn").reduce(
    (sum, { space, blockSize }) => sum + blockSize * space.unitParameters,
    0,
  );
  const splits = costs(ofKind("kv")).flatMap((cost, kv) => {
    const ffn = neurons.findLastIndex((more) => cost + more <= budget + 0.5);
    return ffn < 0 ? [] : [{ kv, ffn, unspent: budget - cost - neurons[ffn]! }];
  });
  const exact = splits.filter(({ unspent }) => unspent < block);
  const least = Math.min(...splits.map(({ unspent }) => unspent));
  return exact.length > 0 ? exact : splits.filter(({ unspent }) => unspent === least);
}

/** Parameters that go when every queue gives 0, 1, 2, ... blocks. */
function costs(queues: readonly RemovalQueue[]): readonly number[] {
  const blocks = Math.min(...queues.map((queue) => queue.blocks));
  return Array.from({ length: blocks + 1 }, (_, count) =>
    queues.reduce((sum, queue) => sum + unitsInBlocks(queue, count) * queue.space.unitParameters, 0),
  );
}

/** Sum of value * parameters over the units of a queue's first blocks. */
function lossOf(queue: RemovalQueue, blocks: number, values: Float64Array): number {
  const units = queue.order.slice(0, unitsInBlocks(queue, blocks));
  return units.reduce((sum, unit) => sum + values[unit]!, 0) * queue.space.unitParameters;
}

function requireAlike(spec: ModelSpec): void {
  if (hasUniformWidths(spec)) return;
  throw new GpruneError(
    "BAD_ARGUMENT",
    "shape: expected per-layer for layers that differ in width, got uniform",
    {
      hint: "Equal widths come from a model whose layers are alike: prune the original once, by more.",
    },
  );
}
