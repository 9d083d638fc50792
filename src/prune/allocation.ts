/**
 * The interface of allocations, which decide how much each space loses under one parameter budget and so which units
 * are kept, and the checks that they share. Implementations are the files allocate_*.ts; allocate.ts lists them.
 */
import { badArgument, requireCount } from "../base/arguments.ts";
import type { Shape } from "../base/choices.ts";
import { GpruneError } from "../errors.ts";
import { channelCount, prunableParameters, type Space } from "../model/spaces.ts";
import { expertCounts, type ModelSpec } from "../model/spec.ts";
import type { Importance } from "../score/importance.ts";
import type { Keep } from "./plan.ts";
import { canGive, capacity, type RankedSpace, type RemovalQueue, removalQueue } from "./removal.ts";

/** A parameter budget for removal, and the shape of the result. */
export interface RemovalRequest {
  readonly spec: ModelSpec;
  /** Fraction (0 <= s < 1) of `prunableParameters(spec)` to remove. */
  readonly sparsity: number;
  /** FFN widths that change become multiples of this; default 1. */
  readonly roundTo?: number;
  /** Default `per-layer`. */
  readonly shape?: Shape;
}

/** A budget, and the scores that decide what is removed. */
export interface AllocationRequest extends RemovalRequest {
  /** Channel scores of every space. */
  readonly importance: Importance;
}

/**
 * A rule for sharing the budget. Laws, whatever the rule: at least one KV group and one neuron (`roundTo` neurons) stay
 * in each layer; never more than the budget is removed; wherever neurons remain to fill it, less than one neuron (one
 * block of `roundTo`) of it is left, with shape `uniform` one in every layer; ties are broken by space order, then
 * index; the same request gives the same answer.
 */
export interface Allocation {
  /** Name on the command line. */
  readonly name: string;
  /**
   * @returns kept units of every space that loses some
   * @throws GpruneError BAD_ARGUMENT for a sparsity that the minimum widths do not allow, or importance of another
   * model
   */
  allocate(request: AllocationRequest): Keep;
}

/**
 * Channel scores of one space, [channels].
 * @throws GpruneError BAD_ARGUMENT if they are missing or those of another model
 */
export function scoresOf({ importance }: AllocationRequest, space: Space): Float64Array {
  const scores = importance.get(space.id);
  const expected = channelCount(space);
  if (scores?.length === expected) return scores;
  const got = scores === undefined ? "none" : scores.length;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `importance of ${space.id}: expected ${expected} scores, got ${got}`,
    {
      hint: "Score the model that is being pruned.",
    },
  );
}

/** `roundTo` of a request, 1 without one. @throws GpruneError BAD_ARGUMENT unless it is a positive whole number */
export function checkedRoundTo({ roundTo = 1 }: RemovalRequest): number {
  requireCount("round-to", roundTo);
  return roundTo;
}

/**
 * The removal queues of ranked spaces, in their order.
 * @throws GpruneError BAD_ARGUMENT unless `roundTo` is a positive whole number
 */
export function queuesOf(ranked: readonly RankedSpace[], request: RemovalRequest): readonly RemovalQueue[] {
  const roundTo = checkedRoundTo(request);
  return ranked.map(({ space, values, ties }) => removalQueue(space, values, { roundTo, ties }));
}

/** @throws GpruneError BAD_ARGUMENT outside 0 <= s < 1 */
export function requireSparsity(sparsity: number): void {
  if (!(sparsity >= 0 && sparsity < 1))
    throw badArgument("sparsity", "a fraction of at least 0 and below 1", sparsity);
}

/**
 * Parameters to remove, sparsity * prunable, not rounded.
 * @throws GpruneError BAD_ARGUMENT outside 0 <= s < 1, or beyond what the queues can give
 */
export function removalBudget({ spec, sparsity }: RemovalRequest, queues: readonly RemovalQueue[]): number {
  requireSparsity(sparsity);
  const prunable = prunableParameters(spec);
  const budget = sparsity * prunable;
  if (!canGive(queues, budget)) {
    const removable = queues.reduce((sum, queue) => sum + capacity(queue), 0);
    const ofExpert = expertCounts(spec) === undefined ? "" : " of every expert";
    const largest = Math.floor((removable / prunable) * 10_000) / 10_000;
    throw new GpruneError("BAD_ARGUMENT", `sparsity: expected at most ${largest}, got ${sparsity}`, {
      hint: `Every layer keeps at least one KV group and one neuron${ofExpert}, or as many neurons as --round-to says.`,
    });
  }
  return budget;
}
