/**
 * Refines learned widths by measuring the refitted model: solves least squares for the present widths and for
 * alternatives, from the moments that the result will be refitted from; measures the loss's slopes from the present
 * projections towards the alternatives and the worth of every neuron, in one forward and backward pass through a model
 * with all neurons and the KV groups of the widest alternatives; moves the widths (width_moves.ts) and reorders the
 * neurons (neuron_order.ts).
 */

import type { OnProgress } from "../base/progress.ts";
import type { Checkpoints, Stages } from "../base/stages.ts";
import type { Moments } from "../calibrate/moments.ts";
import type { SlopeStats } from "../calibrate/slopes.ts";
import { type DecidingSet, freshSetsInTurn, type TurnOf } from "../calibrate/windows.ts";
import { internalError } from "../errors.ts";
import type { Model } from "../model/model.ts";
import { type Keep, makePlan } from "../prune/plan.ts";
import type { Alternatives } from "../recover/alternatives.ts";
import type { Refitted } from "../recover/least_squares.ts";
import type { RunPasses } from "../recover/passes.ts";
import { makeModel } from "../recover/recipe.ts";
import { reorderedNeurons } from "./neuron_order.ts";
import { sharesOf } from "./set_weights.ts";
import {
  movedWidths,
  type Slope,
  type SpaceAlternatives,
  type WidthMove,
  type WidthRequest,
  widthAlternatives,
} from "./width_moves.ts";

/** Options of {@link refineWidths}. */
export interface RefineRequest {
  readonly model: Model;
  readonly passes: RunPasses;
  readonly sets: readonly DecidingSet[];
  /** Moments that least squares will refit the result from. */
  readonly moments: Moments;
  /** Whether that adds biases to output projections that have none; true when absent. */
  readonly addsBiases?: boolean | undefined;
  /** Weight of every set by name. */
  readonly weights: ReadonlyMap<string, number>;
  /** Learned widths and order of removal. */
  readonly widths: WidthRequest;
  /** Mean activation of every neuron by space id, [units]. */
  readonly centres: ReadonlyMap<string, Float32Array>;
  /** The windows after the rounds' windows. */
  readonly turnOf: TurnOf;
  readonly seed: number;
  readonly onProgress: OnProgress;
  readonly stages: Stages;
}

/** Kept units, and the width changes. */
export interface Refined {
  readonly keep: Keep;
  readonly moves: readonly WidthMove[];
}

/** Moves widths and reorders neurons; where no space has an alternative, everything stays as learned. */
export async function refineWidths(request: RefineRequest): Promise<Refined> {
  const { widths, stages } = request;
  const choices = widthAlternatives(widths);
  if (choices.length === 0) return { keep: widths.keep, moves: [] };
  const measured = await stages.run("refine neurons", (checkpoints: Checkpoints<Refitted>) =>
    measureSlopes(request, choices, checkpoints),
  );
  const order = reorderedNeurons(widths, measured, request.weights);
  return movedWidths({ ...widths, order }, choices, pooledSlopes(choices, measured, request.weights));
}

async function measureSlopes(
  { model, passes, sets, moments, addsBiases, widths, centres, turnOf, seed, onProgress }: RefineRequest,
  choices: readonly SpaceAlternatives[],
  checkpoints: Checkpoints<Refitted>,
): Promise<ReadonlyMap<string, SlopeStats>> {
  const keep: Record<string, readonly number[]> = { ...widths.keep };
  const alternatives: Record<string, Alternatives[string]> = {};
  for (const { space, present, alternatives: others } of choices) {
    const lists = [present, ...others.map(({ units }) => units)];
    alternatives[space.id] = lists;
    // All neurons are measured, removed ones included.
    if (space.kind === "ffn") delete keep[space.id];
    else keep[space.id] = [...new Set(lists.flat())].sort((a, b) => a - b);
  }
  const refitted = await passes.refit({
    plan: makePlan(model.spec, keep),
    moments,
    addsBiases,
    alternatives,
    stage: "refine",
    onProgress,
    checkpoints,
  });
  const chosen = freshSetsInTurn(sets, turnOf, seed);
  const changed = makeModel(model, { keep, ...refitted });
  return passes.slopes(changed, chosen, { centres, stage: "slopes", onProgress });
}

/** Means over the windows of every set, averaged by the sets' weights. */
function pooledSlopes(
  choices: readonly SpaceAlternatives[],
  measured: ReadonlyMap<string, SlopeStats>,
  weights: ReadonlyMap<string, number>,
): ReadonlyMap<string, readonly Slope[]> {
  const shares = sharesOf(weights, measured.keys());
  return new Map(
    choices.map(({ space: { id }, alternatives }) => {
      const pooled = alternatives.map((_, index): Slope => {
        let [first, square] = [0, 0];
        for (const [name, { windows, spaces }] of measured) {
          const slopes = spaces.get(id);
          if (slopes === undefined) throw internalError(`no slopes of ${id}`);
          const factor = shares.get(name)! / windows;
          first += factor * slopes.sums[index]!;
          square += factor * slopes.squares[index]!;
        }
        return { first, square };
      });
      return [id, pooled] as const;
    }),
  );
}
