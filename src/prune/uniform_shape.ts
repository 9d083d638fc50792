/**
 * Shape uniform: every layer keeps the same number of neurons, and every layer with attention the same number of KV
 * groups, which is all that the stock classes of other programs support. The ranking decides which units of a layer are
 * removed; here the budget is split between attention and FFN.
 *
 * A split takes g groups from every layer, then as many neurons (blocks of `roundTo`) as the budget pays for. Where
 * layers of some kind are wider by design (`hasUniformWidths`), they give more in proportion.
 * Candidates are the splits that leave less than one neuron a layer unspent, or at most half a block a layer more than
 * the split nearest to the budget. The one with the smallest
 *
 *   sum of value * parameters over the removed units, and over the fraction of the next neurons that the rest pays for
 *
 * wins, on ties the one with fewer groups. The same ranking without the constraint minimises this sum too; for learned
 * sparsity it is the removed marginal loss. Without the fraction, splits that remove less would win for that alone.
 */
import { GpruneError } from "../errors.ts";
import { withKvGroups } from "../model/alibi.ts";
import type { Space } from "../model/spaces.ts";
import { hasUniformWidths, type ModelSpec } from "../model/spec.ts";
import type { SpaceKind } from "../model/weights.ts";
import { checkedRoundTo, queuesOf, type RemovalRequest, removalBudget } from "./allocation.ts";
import type { Keep } from "./plan.ts";
import {
  BUDGET_SLACK,
  type RankedSpace,
  type RemovalQueue,
  unitsInBlocks,
  unitsLeft,
  unranked,
} from "./removal.ts";

/** Number of blocks that every space of a kind gives. */
interface Split extends Readonly<Record<SpaceKind, number>> {
  /** Fraction of one more block of neurons that the unspent budget would pay for; 0 if no block is left. */
  readonly fraction: number;
}

/**
 * Kept units of every space that loses some.
 * @throws GpruneError BAD_ARGUMENT for a model whose layers differ, or a sparsity that the minimum widths do not allow
 */
export function removeUniform(ranked: readonly RankedSpace[], request: RemovalRequest): Keep {
  const queues = queuesInProportion(ranked, request);
  const splits = splitsOf(queues, request);
  const losses = splits.map((split) =>
    queues.reduce((sum, queue, index) => sum + lossOf(queue, split, ranked[index]!.values), 0),
  );
  const chosen = splits[losses.indexOf(Math.min(...losses))]!;
  const kept = queues.flatMap((queue) => {
    const taken = unitsTaken(queue, chosen[queue.space.kind]);
    return taken === 0 ? [] : [[queue.space.id, unitsLeft(queue, taken)] as const];
  });
  return Object.fromEntries(kept);
}

/** The specs that `removeUniform` may result in, whatever the ranking. @throws GpruneError as `removeUniform` */
export function uniformOutcomes(request: RemovalRequest): readonly ModelSpec[] {
  const queues = queuesInProportion(unranked(request.spec), request);
  return splitsOf(queues, request).map((split) => {
    const removed = (layer: number, kind: SpaceKind): number => {
      const queue = queues.find(({ space }) => space.layer === layer && space.kind === kind);
      return queue === undefined ? 0 : unitsTaken(queue, split[kind]);
    };
    const layers = request.spec.layers.map((layer, index) => {
      const groups = Array.from({ length: layer.kvGroups - removed(index, "kv") }, (_, group) => group);
      return { ...withKvGroups(layer, groups), neurons: layer.neurons - removed(index, "ffn") };
    });
    return { ...request.spec, layers };
  });
}

/** A queue, and the units that a part of the space has in the narrowest layers. */
interface ProportionalQueue extends RemovalQueue {
  readonly narrowest: number;
}

function queuesInProportion(
  ranked: readonly RankedSpace[],
  request: RemovalRequest,
): readonly ProportionalQueue[] {
  const queues = queuesOf(ranked, request);
  const narrowestOf = (kind: SpaceKind): number =>
    Math.min(...queues.flatMap(({ space }) => (space.kind === kind ? [partSize(space)] : [])));
  const narrowest = { ffn: narrowestOf("ffn"), kv: narrowestOf("kv") };
  return queues.map((queue) => ({ ...queue, narrowest: narrowest[queue.space.kind] }));
}

function partSize({ units, parts }: Pick<Space, "units" | "parts">): number {
  return units / parts;
}

/**
 * Units that a queue gives when a split takes a number of blocks from the narrowest layers. Layers whose width is a
 * multiple of theirs keep that multiple, others the nearest number of whole blocks, at least one.
 */
function unitsTaken({ narrowest, space, ...queue }: ProportionalQueue, blocks: number): number {
  const { parts } = space;
  const blockSize = queue.blockSize / parts;
  const given = unitsInBlocks({ ...queue, blockSize, space: { ...space, units: narrowest } }, blocks);
  const whole = partSize(space);
  if (given === 0 || whole % narrowest === 0) return (space.units / narrowest) * given;
  const left = blockSize * Math.round((whole * (narrowest - given)) / narrowest / blockSize);
  return parts * (whole - Math.min(whole, Math.max(blockSize, left)));
}

/** The candidate splits. */
function splitsOf(queues: readonly ProportionalQueue[], request: RemovalRequest): readonly Split[] {
  requireAlike(request.spec);
  const budget = removalBudget(request, queues);
  const ofKind = (kind: SpaceKind): readonly ProportionalQueue[] =>
    queues.filter(({ space }) => space.kind === kind);
  // Parameters of one neuron in every layer, or in every expert.
  const neuron = ofKind("ffn").reduce((sum, { space, narrowest }) => {
    return sum + (space.units / narrowest) * space.unitParameters;
  }, 0);
  const neurons = costs(ofKind("ffn"));
  // Groups that layers share stay, and so do all others then.
  const groups = request.spec.layers.some(({ kvSharing }) => kvSharing) ? [0] : costs(ofKind("kv"));
  const splits = groups.flatMap((cost, kv) => {
    const ffn = neurons.findLastIndex((more) => cost + more <= budget + BUDGET_SLACK);
    if (ffn < 0) return [];
    const unspent = budget - cost - neurons[ffn]!;
    const next = neurons[ffn + 1];
    const fraction = next === undefined ? 0 : Math.max(0, unspent) / (next - neurons[ffn]!);
    return [{ kv, ffn, fraction, unspent, isLast: next === undefined }];
  });
  const smallest = Math.min(...splits.map(({ unspent }) => unspent));
  const limit = Math.max(neuron, smallest + (neuron * checkedRoundTo(request)) / 2);
  return splits.filter(({ unspent, isLast }) => unspent === smallest || unspent < (isLast ? neuron : limit));
}

/** Parameters that are removed when every queue gives 0, 1, 2, ... blocks. */
function costs(queues: readonly ProportionalQueue[]): readonly number[] {
  const blocks = Math.min(
    ...queues.map(({ space, blockSize, narrowest }) => Math.ceil((narrowest * space.parts) / blockSize) - 1),
  );
  return Array.from({ length: blocks + 1 }, (_, count) =>
    queues.reduce((sum, queue) => sum + unitsTaken(queue, count) * queue.space.unitParameters, 0),
  );
}

/** Sum of value * parameters over the units that a split takes from a queue, and over its fraction of a block. */
function lossOf(queue: ProportionalQueue, split: Split, values: Float64Array): number {
  const { kind, unitParameters } = queue.space;
  const upTo = (blocks: number): number =>
    queue.order.slice(0, unitsTaken(queue, blocks)).reduce((sum, unit) => sum + values[unit]!, 0);
  const blocks = split[kind];
  const taken = upTo(blocks);
  const ofNext = kind === "ffn" && split.fraction > 0 ? split.fraction * (upTo(blocks + 1) - taken) : 0;
  return (taken + ofNext) * unitParameters;
}

function requireAlike(spec: ModelSpec): void {
  if (hasUniformWidths(spec)) return;
  throw new GpruneError(
    "BAD_ARGUMENT",
    "shape: expected per-layer for a model whose layers differ in width, got uniform",
    {
      hint: "For equal widths, prune the original model, with a higher sparsity.",
    },
  );
}
