/**
 * Widths moved to where the refitted model wants them. Learning equalises marginals that are squared gradients of a
 * model with compensated means; what a width is worth once least squares has made up for it is another matter, and can
 * be measured: the loss's slopes (calibrate/slopes.ts) along the ways to a few more and a few fewer units in every
 * space.
 *
 * Neurons: m_i = (slope to fewer - slope to more) / (their difference in parameters) is what a parameter of space i is
 * worth; its width moves by step * log(m_i / geometric mean), at most by the step, and all widths by the same number
 * until the budget is met. KV groups: the loss changes by max(slope, 0) + CURVATURE * mean squared slope when one goes,
 * by slope + the same when one comes back; against what its parameters are worth in neurons, the median of m_i. The
 * best few go or come back, one in a layer.
 *
 * Related: EvoPress (arXiv 2410.14649) and Tyr-the-Pruner (arXiv 2503.09657) search such moves by the losses of whole
 * models.
 */

import { prunableParameters, type Space, type SpaceKind, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { canRemove, removeRanked } from "../prune/ranked.ts";
import type { RankedSpace } from "../prune/removal.ts";
import { clamp, quantile } from "../tensor/statistics.ts";

/** All units of every space by id, the first to go first. */
export type UnitOrder = ReadonlyMap<string, readonly number[]>;

/** What is there, and in which order units would go. */
export interface WidthRequest {
  readonly spec: ModelSpec;
  readonly keep: Keep;
  readonly order: UnitOrder;
  readonly sparsity: number;
  readonly roundTo: number;
}

/** Another list of units for a space. */
export interface Alternative {
  /** Ascending. */
  readonly units: readonly number[];
  /** Units that it has more than the present list; negative for fewer. */
  readonly more: number;
}

/** The ways on from a space's present units. */
export interface SpaceAlternatives {
  readonly space: Space;
  /** Ascending. */
  readonly present: readonly number[];
  readonly alternatives: readonly Alternative[];
}

/** What the loss says of an alternative, nats: its slope, and the mean of the tokens' squared slopes. */
export interface Slope {
  readonly first: number;
  readonly square: number;
}

/** What became of a space, and why. */
export interface WidthMove {
  readonly space: string;
  readonly from: number;
  readonly to: number;
  /** Neurons that are there in place of as many others; absent for KV groups. */
  readonly exchanged?: number | undefined;
  /** What a million parameters more of its neurons were worth, nats; absent for KV groups. */
  readonly worth?: number | undefined;
}

/** Neurons that a width may move by, as a fraction of the dense one. */
const STEP = 0.08;
/** KV groups of a space that may go, and that may come back. */
const GROUPS = 2;
/** Alternatives of a space, at most. */
export const MAX_ALTERNATIVES: Readonly<Record<SpaceKind, number>> = { ffn: 2, kv: 2 * GROUPS };
/** Share of all KV groups that go or come back at most: what they cost together is more than the sum. */
const MOVED_GROUPS = 1 / 16;
/**
 * What a mean squared slope adds to a slope. Half of it would be a Gauss-Newton step's curvature; the losses of SmolLM2
 * without or with one of its KV groups, 21 of them measured one by one, want 0.08 to 0.39 and 0.15 in the middle
 * (docs/EXPERIMENTS.md).
 */
const CURVATURE = 0.15;
/** A width is worth this share of the median at least, so that noise around nothing does not count. */
const LEAST_WORTH = 1 / 16;

/** The alternatives of every space that has some. */
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
  const widths = [Math.min(space.units, present.length + step), Math.max(roundTo, present.length - step)];
  const alternatives = widths
    .filter((width, index) => (index === 0 ? width > present.length : width < present.length))
    .map((width): Alternative => {
      const units = order.get(space.id)!.slice(space.units - width);
      return { units: ascending(units), more: width - present.length };
    });
  return { space, present, alternatives };
}

function groupAlternatives(space: Space, { keep, order }: WidthRequest): SpaceAlternatives {
  const present = keptUnits(keep, space);
  const all = order.get(space.id)!;
  const gone = all.slice(0, space.units - present.length);
  const going = present.length > 1 ? all.slice(gone.length, gone.length + GROUPS) : [];
  const alternatives = [
    ...going.map((unit) => ({ units: present.filter((other) => other !== unit), more: -1 })),
    ...gone.slice(-GROUPS).map((unit) => ({ units: ascending([...present, unit]), more: 1 })),
  ];
  return { space, present, alternatives };
}

/** Channels that an alternative has more or fewer, at most. */
export function changedChannels(space: Space, roundTo: number): number {
  return space.kind === "kv" ? space.unitChannels : Math.min(space.units, stepOf(space, roundTo));
}

/** Whole blocks of `roundTo` neurons, at least one. */
function stepOf({ units }: Space, roundTo: number): number {
  return Math.max(1, Math.round((STEP * units) / roundTo)) * roundTo;
}

/**
 * The units that stay after the moves: as many parameters as before, to within one neuron, or to one block of
 * `roundTo`; no KV group fills a rest of the budget as long as neurons are enough for it. The order need not be that of
 * the spaces.
 * @param slopes - of the alternatives of every such space, in their order, by space id
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
  const price = worths.size === 0 ? 0 : quantile(Float64Array.from(worths.values()).sort(), 0.5);
  // Where more is not better, widths stay, and only neurons are exchanged.
  const isBetter = price > 0;
  const toggles = isBetter ? bestToggles(choices, { slopes, price }) : new Map<string, Alternative>();
  const logs = new Map(
    [...worths].map(([id, worth]) => [id, isBetter ? Math.log(Math.max(worth, LEAST_WORTH * price)) : 0]),
  );
  const mean = [...logs.values()].reduce((sum, log) => sum + log, 0) / Math.max(1, logs.size);
  const keep = keptAround(request, toggles, (space, present) => {
    const log = logs.get(space.id) ?? mean;
    return present + clamp(log - mean, -1, 1) * stepOf(space, request.roundTo);
  });
  const moves = choices.map(({ space, present }): WidthMove => {
    const worth = worths.get(space.id);
    const kept = keptUnits(keep, space);
    const move = { space: space.id, from: present.length, to: kept.length };
    if (worth === undefined) return move;
    const stays = new Set(kept);
    const both = present.filter((unit) => stays.has(unit)).length;
    return { ...move, exchanged: Math.min(move.from, move.to) - both, worth: 1e6 * worth };
  });
  return { keep, moves: moves.filter(({ from, to, worth }) => worth !== undefined || from !== to) };
}

/**
 * The units that stay when exactly these KV groups do: neurons meet the budget. Only where they cannot do groups go as
 * well, or stay.
 * @param toggles - the groups of spaces, by id, where they are not the present ones
 * @param widthOf - where a space's width is to be, of its present one
 */
function keptAround(
  request: WidthRequest,
  toggles: ReadonlyMap<string, Alternative>,
  widthOf: (space: Space, present: number) => number,
): Keep {
  const { spec, order } = request;
  const spaces = spacesOf(spec);
  const listOf = (space: Space): readonly number[] =>
    toggles.get(space.id)?.units ?? keptUnits(request.keep, space);
  const ranked = spaces.map((space): RankedSpace => {
    const list = listOf(space);
    const places = order.get(space.id)!;
    return space.kind === "kv"
      ? { space, values: settledValues(space, list), ties: shiftedPlaces(places, 0) }
      : { space, values: shiftedPlaces(places, space.units - widthOf(space, list.length)) };
  });
  const short = spaces.filter((space) => space.kind === "kv" && listOf(space).length < space.units);
  const gone = short.reduce(
    (sum, space) => sum + (space.units - listOf(space).length) * space.unitParameters,
    0,
  );
  const neurons = ranked.filter(({ space }) => space.kind === "ffn");
  const rest = { ...request, sparsity: request.sparsity - gone / prunableParameters(spec) };
  if (rest.sparsity < 0 || !canRemove(neurons, rest)) return removeRanked(ranked, request);
  const kept = {
    ...Object.fromEntries(short.map((space) => [space.id, listOf(space)])),
    ...removeRanked(neurons, rest),
  };
  return Object.fromEntries(spaces.flatMap(({ id }) => (kept[id] ? [[id, kept[id]]] : [])));
}

/** What a parameter of a space's neurons is worth, nats. */
function worthOfNeurons({ space, alternatives }: SpaceAlternatives, slopes: readonly Slope[]): number {
  let [gained, parameters] = [0, 0];
  for (const [index, { more }] of alternatives.entries()) {
    gained -= Math.sign(more) * slopes[index]!.first;
    parameters += Math.abs(more) * space.unitParameters;
  }
  return gained / parameters;
}

/** The KV groups that go or come back, by space id. */
function bestToggles(
  choices: readonly SpaceAlternatives[],
  { slopes, price }: { readonly slopes: ReadonlyMap<string, readonly Slope[]>; readonly price: number },
): ReadonlyMap<string, Alternative> {
  const groups = choices.filter(({ space }) => space.kind === "kv");
  const best = groups.flatMap(({ space, alternatives }) => {
    const gains = alternatives.map((alternative, index) => {
      const cost = price * space.unitParameters * -alternative.more;
      return { id: space.id, alternative, gain: cost - lossOf(alternative, slopes.get(space.id)![index]!) };
    });
    const [first] = gains.sort((a, b) => b.gain - a.gain);
    return first !== undefined && first.gain > 0 ? [first] : [];
  });
  const most = Math.floor(MOVED_GROUPS * groups.reduce((sum, { space }) => sum + space.units, 0));
  const chosen = best.sort((a, b) => b.gain - a.gain).slice(0, most);
  return new Map(chosen.map(({ id, alternative }) => [id, alternative]));
}

/** By how much the loss grows when a KV group goes (`more` -1) or comes back, nats; below 0 where it falls. */
function lossOf({ more }: Alternative, { first, square }: Slope): number {
  return (more < 0 ? Math.max(first, 0) : first) + CURVATURE * square;
}

/** Values far below all others for units that go, far above for those of the list. */
function settledValues({ units }: Space, list: readonly number[]): Float64Array {
  const values = new Float64Array(units).fill(-Number.MAX_SAFE_INTEGER);
  for (const unit of list) values[unit] = Number.MAX_SAFE_INTEGER;
  return values;
}

/**
 * Every unit's place in the order, counted from where the width is to be: what lies below 0 goes, if the budget is met
 * so.
 */
function shiftedPlaces(order: readonly number[], from: number): Float64Array {
  const values = new Float64Array(order.length);
  for (const [place, unit] of order.entries()) values[unit] = place + 0.5 - from;
  return values;
}

function ascending(units: readonly number[]): readonly number[] {
  return [...units].sort((a, b) => a - b);
}
