/**
 * Moves learned widths by their worth to the refitted model. Learning equalises squared gradients of a mean-compensated
 * model; after least squares a width may be worth something else. That is measured by the loss's slopes
 * (calibrate/slopes.ts) from the present units of every space towards a few more and a few fewer.
 *
 * Neurons: m_i = (slope to fewer - slope to more) / (their difference in parameters) is the worth of a parameter of
 * space i; its width moves by step * log(m_i / geometric mean), at most by the step, then all widths by one common
 * number of units until the budget is met. KV groups: the loss is estimated to change by max(slope, 0) + CURVATURE *
 * mean squared slope when a group is removed, by slope + CURVATURE * mean squared slope when one comes back; the
 * estimate is compared with the worth of its parameters in neurons, at the median m_i. The best few are removed or come
 * back, at most one in a layer.
 *
 * Related: EvoPress (arXiv 2410.14649) and Tyr-the-Pruner (arXiv 2503.09657) search such moves by the losses of whole
 * models.
 */

import { prunableParameters, type Space, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { SpaceKind } from "../model/weights.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { canRemove, removeRanked } from "../prune/ranked.ts";
import { interleaveParts, type RankedSpace } from "../prune/removal.ts";
import { clamp, quantile } from "../tensor/statistics.ts";

/** All units of every space by id, in the order of their removal. */
export type UnitOrder = ReadonlyMap<string, readonly number[]>;

/** Learned units, the order of removal, and the budget. */
export interface WidthRequest {
  readonly spec: ModelSpec;
  readonly keep: Keep;
  readonly order: UnitOrder;
  readonly sparsity: number;
  readonly roundTo: number;
}

/** An alternative list of kept units of a space. */
export interface Alternative {
  /** Ascending. */
  readonly units: readonly number[];
  /** Number of units beyond those of the present list; negative for fewer. */
  readonly unitsAdded: number;
}

/** Present units of a space, and the alternatives to them. */
export interface SpaceAlternatives {
  readonly space: Space;
  /** Ascending. */
  readonly present: readonly number[];
  readonly alternatives: readonly Alternative[];
}

/** Slope of the loss towards an alternative, nats, and the mean of the tokens' squared slopes. */
export interface Slope {
  readonly first: number;
  readonly square: number;
}

/** Width of a space before and after refinement, and the reason. */
export interface WidthMove {
  readonly space: string;
  readonly from: number;
  readonly to: number;
  /** Number of neurons that took the place of as many others; absent for KV groups. */
  readonly exchanged?: number | undefined;
  /** Worth of a million more parameters in its neurons, nats; absent for KV groups. */
  readonly worth?: number | undefined;
}

/** Largest move of an FFN width, as a fraction of the dense width. */
const STEP = 0.08;
/** KV groups of a space that are candidates for removal, and for coming back. */
const GROUP_CANDIDATES = 2;
/** Largest number of alternatives of a space. */
export const MAX_ALTERNATIVES: Readonly<Record<SpaceKind, number>> = { ffn: 2, kv: 2 * GROUP_CANDIDATES };
/** Largest share of all KV groups that moves: together groups cost more than the sum of their single costs. */
const MOVED_GROUPS = 1 / 16;
/**
 * Factor of the mean squared slope. It would be 1/2 for the curvature of a Gauss-Newton step; the losses of SmolLM2
 * with one KV group more or fewer, measured for 21 groups, fit 0.08 to 0.39 and 0.15 in the middle
 * (docs/EXPERIMENTS.md).
 */
const CURVATURE = 0.15;
/** Worths are raised to at least this share of the median, so that noise around 0 does not decide. */
const LEAST_WORTH = 1 / 16;

/** The spaces that have alternatives, with these. */
export function widthAlternatives(request: WidthRequest): readonly SpaceAlternatives[] {
  return spacesOf(request.spec)
    .map((space) =>
      space.kind === "ffn" ? neuronAlternatives(space, request) : groupAlternatives(space, request),
    )
    .filter(({ alternatives }) => alternatives.length > 0);
}

function neuronAlternatives(space: Space, { keep, order, roundTo }: WidthRequest): SpaceAlternatives {
  const present = keptUnits(keep, space);
  const step = stepOf(space, roundTo);
  const more = Math.min(space.units, present.length + step);
  const fewer = Math.min(present.length, Math.max(roundTo * space.parts, present.length - step));
  const interleaved = interleaveParts(order.get(space.id)!, space);
  const alternatives = [more, fewer]
    .filter((width) => width !== present.length)
    .map((width): Alternative => {
      return { units: ascending(interleaved.slice(space.units - width)), unitsAdded: width - present.length };
    });
  return { space, present, alternatives };
}

function groupAlternatives(space: Space, { keep, order }: WidthRequest): SpaceAlternatives {
  const present = keptUnits(keep, space);
  const units = order.get(space.id)!;
  const removed = units.slice(0, space.units - present.length);
  const removable = present.length > 1 ? units.slice(removed.length, removed.length + GROUP_CANDIDATES) : [];
  const alternatives = [
    ...removable.map((unit) => ({ units: present.filter((other) => other !== unit), unitsAdded: -1 })),
    ...removed
      .slice(-GROUP_CANDIDATES)
      .map((unit) => ({ units: ascending([...present, unit]), unitsAdded: 1 })),
  ];
  return { space, present, alternatives };
}

/** Largest number of channels by which an alternative differs from the present units, in each part of the space. */
export function changedChannels(space: Space, roundTo: number): number {
  if (space.kind === "kv") return space.unitChannels;
  return Math.min(space.units, stepOf(space, roundTo)) / space.parts;
}

/** Step of an FFN width in neurons: whole blocks of `roundTo` of every part, at least one. */
function stepOf({ units, parts }: Space, roundTo: number): number {
  const block = roundTo * parts;
  return Math.max(1, Math.round((STEP * units) / block)) * block;
}

/**
 * The kept units after the moves: as many parameters as before to within one neuron, or one block of `roundTo`. KV
 * groups do not fill a remainder of the budget while neurons suffice. `request.order` may differ from the order that
 * the alternatives were made from.
 * @param slopes - one for each alternative of a space, by space id
 */
export function movedWidths(
  request: WidthRequest,
  choices: readonly SpaceAlternatives[],
  slopes: ReadonlyMap<string, readonly Slope[]>,
): { readonly keep: Keep; readonly moves: readonly WidthMove[] } {
  const worths = new Map(
    choices
      .filter(({ space }) => space.kind === "ffn")
      .map((choice): [string, number] => {
        const { id } = choice.space;
        return [id, worthOfNeurons(choice, slopes.get(id)!)];
      }),
  );
  // The worth of a parameter in neurons, with which KV groups are compared.
  const price = worths.size === 0 ? 0 : quantile(Float64Array.from(worths.values()).sort(), 0.5);
  // Where more parameters do not help, widths stay and neurons are only exchanged.
  const moreHelps = price > 0;
  const groupMoves = moreHelps ? bestGroupMoves(choices, { slopes, price }) : new Map<string, Alternative>();
  const logWorths = new Map(
    [...worths].map(([id, worth]) => [id, moreHelps ? Math.log(Math.max(worth, LEAST_WORTH * price)) : 0]),
  );
  const mean = [...logWorths.values()].reduce((sum, log) => sum + log, 0) / Math.max(1, logWorths.size);
  const keep = keptAround(request, groupMoves, (space, present) => {
    const logWorth = logWorths.get(space.id) ?? mean;
    return present + clamp(logWorth - mean, -1, 1) * stepOf(space, request.roundTo);
  });
  const moves = choices.map((choice) => widthMove(choice, keep, worths.get(choice.space.id)));
  return { keep, moves: moves.filter(({ from, to, worth }) => worth !== undefined || from !== to) };
}

/** @param worth - of a parameter in the space's neurons, nats; undefined for KV groups */
function widthMove({ space, present }: SpaceAlternatives, keep: Keep, worth: number | undefined): WidthMove {
  const kept = keptUnits(keep, space);
  const move = { space: space.id, from: present.length, to: kept.length };
  if (worth === undefined) return move;
  const isKept = new Set(kept);
  const shared = present.filter((unit) => isKept.has(unit)).length;
  return { ...move, exchanged: Math.min(move.from, move.to) - shared, worth: 1e6 * worth };
}

/**
 * The kept units for a choice of KV groups, where neurons meet the budget. If they cannot, other KV groups are removed
 * or kept as well.
 * @param groupMoves - chosen alternatives of KV spaces by id; all other spaces keep their present groups
 * @param widthOf - target width of an FFN space, from its present width
 */
function keptAround(
  request: WidthRequest,
  groupMoves: ReadonlyMap<string, Alternative>,
  widthOf: (space: Space, present: number) => number,
): Keep {
  const { spec, order } = request;
  const spaces = spacesOf(spec);
  const listOf = (space: Space): readonly number[] =>
    groupMoves.get(space.id)?.units ?? keptUnits(request.keep, space);
  const ranked = spaces.map((space): RankedSpace => {
    const list = listOf(space);
    const places = order.get(space.id)!;
    return space.kind === "kv"
      ? { space, values: pinnedValues(space, list), ties: shiftedPlaces(places, 0) }
      : { space, values: shiftedPlaces(places, space.units - widthOf(space, list.length)) };
  });
  const reduced = spaces.filter((space) => space.kind === "kv" && listOf(space).length < space.units);
  const removed = reduced.reduce(
    (sum, space) => sum + (space.units - listOf(space).length) * space.unitParameters,
    0,
  );
  const neurons = ranked.filter(({ space }) => space.kind === "ffn");
  const ofNeurons = { ...request, sparsity: request.sparsity - removed / prunableParameters(spec) };
  if (ofNeurons.sparsity < 0 || !canRemove(neurons, ofNeurons)) return removeRanked(ranked, request);
  const kept = {
    ...Object.fromEntries(reduced.map((space) => [space.id, listOf(space)])),
    ...removeRanked(neurons, ofNeurons),
  };
  return Object.fromEntries(spaces.flatMap(({ id }) => (kept[id] ? [[id, kept[id]]] : [])));
}

/** m: the worth of a parameter in a space's neurons, nats. */
function worthOfNeurons({ space, alternatives }: SpaceAlternatives, slopes: readonly Slope[]): number {
  let [gained, parameters] = [0, 0];
  for (const [index, { unitsAdded }] of alternatives.entries()) {
    gained -= Math.sign(unitsAdded) * slopes[index]!.first;
    parameters += Math.abs(unitsAdded) * space.unitParameters;
  }
  return gained / parameters;
}

/** The best moves of KV groups by space id: at most one in a space, and `MOVED_GROUPS` of all groups. */
function bestGroupMoves(
  choices: readonly SpaceAlternatives[],
  { slopes, price }: { readonly slopes: ReadonlyMap<string, readonly Slope[]>; readonly price: number },
): ReadonlyMap<string, Alternative> {
  const groups = choices.filter(({ space }) => space.kind === "kv");
  const best = groups.flatMap(({ space, alternatives }) => {
    const gains = alternatives.map((alternative, index) => {
      const cost = price * space.unitParameters * -alternative.unitsAdded;
      return { id: space.id, alternative, gain: cost - lossOf(alternative, slopes.get(space.id)![index]!) };
    });
    const [first] = gains.sort((a, b) => b.gain - a.gain);
    return first !== undefined && first.gain > 0 ? [first] : [];
  });
  const maxMoves = Math.floor(MOVED_GROUPS * groups.reduce((sum, { space }) => sum + space.units, 0));
  const chosen = best.sort((a, b) => b.gain - a.gain).slice(0, maxMoves);
  return new Map(chosen.map(({ id, alternative }) => [id, alternative]));
}

/**
 * Estimated increase of the loss when a KV group is removed (`unitsAdded` -1) or comes back, nats; < 0 where it
 * falls.
 */
function lossOf({ unitsAdded }: Alternative, { first, square }: Slope): number {
  return (unitsAdded < 0 ? Math.max(first, 0) : first) + CURVATURE * square;
}

/** Values that keep a list: far above all others for its units, far below for the rest. */
function pinnedValues({ units }: Space, list: readonly number[]): Float64Array {
  const values = new Float64Array(units).fill(-Number.MAX_SAFE_INTEGER);
  for (const unit of list) values[unit] = Number.MAX_SAFE_INTEGER;
  return values;
}

/** Every unit's place in the order, counted from place `from`: units below 0 are removed if that meets the budget. */
function shiftedPlaces(order: readonly number[], from: number): Float64Array {
  const values = new Float64Array(order.length);
  for (const [place, unit] of order.entries()) values[unit] = place + 0.5 - from;
  return values;
}

function ascending(units: readonly number[]): readonly number[] {
  return [...units].sort((a, b) => a - b);
}
