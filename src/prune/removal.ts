/**
 * Spending a parameter budget unit by unit: a queue of each space's units in the order of their removal, and a ledger
 * of the blocks taken from every queue. Allocations differ in the order in which they take from the ledger.
 */
import { internalError } from "../errors.ts";
import { type Space, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Keep } from "./plan.ts";

/** A space and the values of its units, [units]; the smallest is removed first. */
export interface RankedSpace {
  readonly space: Space;
  readonly values: Float64Array;
  /** Decides between equal values, [units]; the smallest is removed first. */
  readonly ties?: Float64Array;
}

/** All spaces of a model with equal values, for questions about numbers of units alone. */
export function unranked(spec: ModelSpec): readonly RankedSpace[] {
  return spacesOf(spec).map((space) => ({ space, values: new Float64Array(space.units) }));
}

/**
 * Units of a space in the order of their removal. They are removed in blocks: of one unit or, if FFN widths are rounded
 * to R, of R neurons; if F is no multiple of R, the first block has F mod R, so that every later width is a multiple.
 * Of a space with parts, a block has that of every part, so that these stay equal.
 */
export interface RemovalQueue {
  readonly space: Space;
  /** All units, least important first; of a space with parts, the first of every part, then the second. */
  readonly order: readonly number[];
  /** Units of a block, of all parts together. */
  readonly blockSize: number;
  /** Number of blocks that may be removed; at least one block stays. */
  readonly removableBlocks: number;
}

/** Options of {@link removalQueue}. */
interface QueueOptions {
  /** R; applies to FFN spaces only. */
  readonly roundTo: number;
  /** Decides between equal values, [units]; the smallest is removed first, equal ones by index. */
  readonly ties?: Float64Array | undefined;
}

/**
 * The queue of a space.
 * @param unitValues - shape [units]; the smallest is removed first
 */
export function removalQueue(
  space: Space,
  unitValues: Float64Array,
  { roundTo, ties }: QueueOptions,
): RemovalQueue {
  const sorted = Array.from(unitValues.keys()).sort(
    (a, b) => unitValues[a]! - unitValues[b]! || (ties ? ties[a]! - ties[b]! : 0) || a - b,
  );
  const order = interleaveParts(sorted, space);
  const blockSize = space.kind === "ffn" ? roundTo * space.parts : 1;
  return { space, order, blockSize, removableBlocks: Math.max(0, Math.ceil(space.units / blockSize) - 1) };
}

/** The first unit of every part of a space, then the second of each, and so on. @param order - all units */
export function interleaveParts(
  order: readonly number[],
  space: Pick<Space, "units" | "parts">,
): readonly number[] {
  const { parts } = space;
  if (parts === 1) return order;
  const ofParts = byPart(order, space);
  return order.map((_, place) => ofParts[place % parts]![Math.floor(place / parts)]!);
}

/** The units of every part of a space, in their order. */
export function byPart(
  order: readonly number[],
  { units, parts }: Pick<Space, "units" | "parts">,
): readonly (readonly number[])[] {
  const ofParts = Array.from({ length: parts }, (): number[] => []);
  for (const unit of order) ofParts[Math.floor((unit * parts) / units)]!.push(unit);
  return ofParts;
}

/** Number of units in the first `blocks` blocks of a queue. */
export function unitsInBlocks({ space, blockSize }: RemovalQueue, blocks: number): number {
  const missing = (blockSize - (space.units % blockSize)) % blockSize;
  return blocks === 0 ? 0 : blocks * blockSize - missing;
}

/** The units that a queue keeps when it gives some, ascending. */
export function unitsLeft({ order }: RemovalQueue, given: number): readonly number[] {
  return order.slice(given).sort((a, b) => a - b);
}

/** Parameters of a full block. */
function blockCost({ space, blockSize }: RemovalQueue): number {
  return blockSize * space.unitParameters;
}

/** Largest number of parameters that a queue can give. */
export function capacity(queue: RemovalQueue): number {
  return unitsInBlocks(queue, queue.removableBlocks) * queue.space.unitParameters;
}

/**
 * Parameters by which a block may exceed a budget: costs are integers, but budgets are products of rounded fractions.
 */
export const BUDGET_SLACK = 0.01;

/** Whether the queues together can give this number of parameters. */
export function canGive(queues: readonly RemovalQueue[], parameters: number): boolean {
  return parameters <= queues.reduce((sum, queue) => sum + capacity(queue), 0) + BUDGET_SLACK;
}

/** Number of blocks taken from every queue, and the budget left, in parameters. */
export class RemovalLedger {
  readonly #taken: Map<RemovalQueue, number>;
  #left = 0;

  /** Nothing taken, nothing to spend; `keep` lists spaces in the order of the queues. */
  constructor(queues: readonly RemovalQueue[]) {
    this.#taken = new Map(queues.map((queue) => [queue, 0]));
  }

  /** Budget not yet spent, in parameters. */
  get left(): number {
    return this.#left;
  }

  /** Adds to the budget. */
  grant(parameters: number): void {
    this.#left += parameters;
  }

  /** Blocks taken from a queue so far. */
  taken(queue: RemovalQueue): number {
    return this.#taken.get(queue) ?? 0;
  }

  /** Whether another block may be taken and the budget pays for it. */
  fits(queue: RemovalQueue): boolean {
    return this.hasMore(queue) && this.#costOfBlock(queue, this.taken(queue)) <= this.#left + BUDGET_SLACK;
  }

  /** Whether another block may be taken, whatever it costs. */
  hasMore(queue: RemovalQueue): boolean {
    return this.taken(queue) < queue.removableBlocks;
  }

  /** Takes the next block, even beyond the budget. */
  take(queue: RemovalQueue): void {
    if (!this.hasMore(queue)) throw internalError(`nothing left to remove from ${queue.space.id}`);
    const taken = this.taken(queue);
    this.#left -= this.#costOfBlock(queue, taken);
    this.#taken.set(queue, taken + 1);
  }

  /** Undoes the last `take` of a queue. */
  giveBack(queue: RemovalQueue): void {
    const taken = this.taken(queue) - 1;
    if (taken < 0) throw internalError(`nothing to give back to ${queue.space.id}`);
    this.#left += this.#costOfBlock(queue, taken);
    this.#taken.set(queue, taken);
  }

  /** Parameters taken from a queue so far. */
  spentOn(queue: RemovalQueue): number {
    return unitsInBlocks(queue, this.taken(queue)) * queue.space.unitParameters;
  }

  /** Kept units, ascending, of every queue that gave some. */
  keep(): Keep {
    const keep: Record<string, readonly number[]> = {};
    for (const [queue, taken] of this.#taken) {
      if (taken === 0) continue;
      keep[queue.space.id] = unitsLeft(queue, unitsInBlocks(queue, taken));
    }
    return keep;
  }

  #costOfBlock(queue: RemovalQueue, block: number): number {
    const units = unitsInBlocks(queue, block + 1) - unitsInBlocks(queue, block);
    return units * queue.space.unitParameters;
  }
}

/** One block in an order of removal. */
export interface RemovalBlock {
  readonly queue: RemovalQueue;
  /** Number of the block in its queue, from 0. */
  readonly index: number;
}

/** All blocks of one queue, in its order. */
export function blocksOf(queue: RemovalQueue): readonly RemovalBlock[] {
  return Array.from({ length: queue.removableBlocks }, (_, index) => ({ queue, index }));
}

/**
 * Spends the remaining budget: takes every block that still fits, in the order of `blocks`, then trades. A trade is
 * needed when cheap blocks have run out and the remaining budget is less than the cost of an expensive one: the next
 * expensive block is taken, and the cheap blocks taken last are given back, as few as make room for it.
 * @param blocks - every block that may be removed; blocks of one queue in the queue's order
 */
function spend(ledger: RemovalLedger, blocks: readonly RemovalBlock[]): void {
  do {
    for (const { queue, index } of blocks) {
      if (ledger.taken(queue) === index && ledger.fits(queue)) ledger.take(queue);
    }
  } while (trade(ledger, blocks));
}

/**
 * Spends the rest of a budget on neurons, and on KV groups only once neurons have run out: a group that fills a rest
 * would be removed whatever its value.
 */
export function spendRest(ledger: RemovalLedger, blocks: readonly RemovalBlock[]): void {
  const neurons = blocks.filter(({ queue }) => queue.space.kind === "ffn");
  spend(ledger, neurons);
  if (neurons.every(({ queue }) => !ledger.hasMore(queue))) spend(ledger, blocks);
}

/**
 * Takes an expensive block for cheaper ones.
 * @returns whether a block was traded. Only cheaper blocks are given back, so the numbers of blocks taken, most
 *   expensive first, grow lexicographically and trading ends.
 */
function trade(ledger: RemovalLedger, blocks: readonly RemovalBlock[]): boolean {
  const queues = [...new Set(blocks.map(({ queue }) => queue))];
  if (ledger.left + BUDGET_SLACK < Math.min(...queues.map(blockCost))) return false;
  const next = blocks.find(({ queue, index }) => ledger.taken(queue) === index)?.queue;
  if (next === undefined) return false;
  const cheaper = new Set(queues.filter((queue) => blockCost(queue) < blockCost(next)));
  const returnable = [...cheaper].reduce((sum, queue) => sum + ledger.spentOn(queue), 0);
  if (ledger.left + returnable + BUDGET_SLACK < blockCost(next)) return false;
  ledger.take(next);
  for (const { queue, index } of blocks.toReversed()) {
    if (ledger.left >= -BUDGET_SLACK) break;
    if (cheaper.has(queue) && ledger.taken(queue) === index + 1) ledger.giveBack(queue);
  }
  return true;
}
