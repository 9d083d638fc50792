/**
 * Moments of unit gate gradients over the windows of a set. There is one gate per unit, so the gradients of a KV
 * group's channels are summed first; squaring channels before summing would make groups look cheap, since the gradients
 * of a head's channels are strongly correlated.
 */

import { badArgument, requireSome, requireWeights } from "../base/arguments.ts";
import { type Reporting, silent } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import { internalError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { TokenBatch } from "../graph/decoder/forward.ts";
import { runnerForLots } from "../graph/decoder/kept_activations.ts";
import { type Space, spacesOf, sumOverUnits } from "../model/spaces.ts";
import type { TokenSet } from "./calibrate.ts";
import { batchGradients, type GateGradientOptions, type WindowGradients } from "./gate_gradients.ts";
import { dampingFactor, mapLazily } from "./window_gradients.ts";
import { type LotsState, sumsBySet, type WindowSums } from "./window_lots.ts";

/** Moments of one space's unit gradients, summed over windows; shape [units] each. */
export interface UnitGateStats {
  /** sum of |d loss / d gate| */
  readonly absolute: Float64Array;
  /** sum of (d loss / d gate)^2 */
  readonly squares: Float64Array;
}

/** Gate statistics of one set. */
export interface GateStats extends WindowSums {
  /** Keyed by space id. */
  readonly spaces: ReadonlyMap<string, UnitGateStats>;
}

/** Options of {@link gateStatistics}. */
export interface GateStatsOptions extends Partial<Reporting> {
  /**
   * Whether the squares of a window are divided by the root of their sum over the model, so that a few windows with
   * large gradients do not dominate. False when absent.
   */
  readonly damped?: boolean;
  /** Values that replace removed channels, [channels] by space id; zero where absent. */
  readonly centres?: ReadonlyMap<string, Float32Array>;
  /** Saves the state between lots of windows. */
  readonly checkpoints?: Checkpoints<GateStatsState>;
}

/** Sums between two lots of windows. */
export type GateStatsState = LotsState<GateStats>;

/** Gate statistics of every set, by name. */
export async function gateStatistics(
  runner: DecoderRunner,
  sets: readonly TokenSet[],
  {
    damped = false,
    centres = new Map(),
    stage = "gradients",
    onProgress = silent,
    checkpoints = NO_CHECKPOINTS,
  }: GateStatsOptions = {},
): Promise<ReadonlyMap<string, GateStats>> {
  const spaces = spacesOf(runner.model.spec);
  const lotRunner = runnerForLots(runner);
  return sumsBySet(lotRunner, sets, {
    empty: () => emptyGateStats(spaces),
    compute: (batches, options) => windowStatistics(lotRunner, batches, { damped, centres, ...options }),
    add: accumulateGateStats,
    stage,
    onProgress,
    checkpoints,
  });
}

/**
 * Gate statistics of every single window, in order, computed lazily. Holds the layer inputs of all windows, then their
 * gate gradients.
 */
export async function windowStatistics(
  runner: DecoderRunner,
  batches: readonly TokenBatch[],
  { damped = false, ...options }: GateGradientOptions & Pick<GateStatsOptions, "damped">,
): Promise<Iterable<GateStats>> {
  const spaces = spacesOf(runner.model.spec);
  const gradients = await batchGradients(runner, batches, options);
  return mapLazily(gradients, (window) => statsOfWindow(window, { spaces, damped }));
}

/** Statistics of one space, of every set. @throws GpruneError BAD_ARGUMENT for statistics of different models */
function partsOf(sets: readonly GateStats[], id: string): readonly UnitGateStats[] {
  const parts = sets.flatMap(({ spaces }) => spaces.get(id) ?? []);
  const units = [...new Set(parts.map(({ squares }) => squares.length))];
  if (parts.length === sets.length && units.length === 1) return parts;
  const got = parts.length === sets.length ? `${units.join(" and ")} units` : "none in some";
  throw badArgument(`gate statistics of ${id}`, "those of one model", got);
}

/**
 * Merges the statistics of two disjoint lots of windows.
 * @throws GpruneError BAD_ARGUMENT for statistics of different models
 */
export function mergeGateStats(a: GateStats, b: GateStats): GateStats {
  const spaces = new Map(
    Array.from(a.spaces.keys(), (id) => {
      const [stats, other] = partsOf([a, b], id) as [UnitGateStats, UnitGateStats];
      const absolute = stats.absolute.map((value, u) => value + other.absolute[u]!);
      const squares = stats.squares.map((value, u) => value + other.squares[u]!);
      return [id, { absolute, squares }] as const;
    }),
  );
  return { windows: a.windows + b.windows, loss: a.loss + b.loss, spaces };
}

/**
 * Pools several sets into one. Each set's squares are first normalised to sum 1 over the whole model (its absolute
 * values likewise), so that a set with large gradients does not dominate; then averaged by the sets' weights.
 * @param weights - positive, one per set
 * @throws GpruneError BAD_ARGUMENT for other weights, no sets, a set of no windows, or statistics of different models
 */
export function poolGateStats(sets: readonly GateStats[], weights: readonly number[]): GateStats {
  requireSome("gate statistics", sets);
  requireWeights(weights, sets.length);
  for (const set of sets) requireWindows(set);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const share = weights.map((weight) => weight / total);
  const factorsOf = (key: keyof UnitGateStats): readonly number[] =>
    sets.map((set, d) => {
      const sum = modelSum(set, key);
      return sum === 0 ? 0 : share[d]! / sum;
    });
  const factors = { absolute: factorsOf("absolute"), squares: factorsOf("squares") };
  const pooled = (key: keyof UnitGateStats, id: string): Float64Array => {
    const parts = partsOf(sets, id);
    const result = new Float64Array(parts[0]![key].length);
    for (const [d, { [key]: values }] of parts.entries()) {
      const factor = factors[key][d]!;
      for (let u = 0; u < result.length; u++) result[u]! += factor * values[u]!;
    }
    return result;
  };
  const spaces = new Map(
    Array.from(sets[0]!.spaces.keys(), (id) => {
      return [id, { absolute: pooled("absolute", id), squares: pooled("squares", id) }] as const;
    }),
  );
  const loss = sets.reduce((sum, set, d) => sum + (share[d]! * set.loss) / set.windows, 0);
  return { windows: 1, loss, spaces };
}

/** @throws GpruneError BAD_ARGUMENT for statistics of no windows */
export function requireWindows({ windows }: Pick<GateStats, "windows">): void {
  if (!(windows > 0)) throw badArgument("gate statistics", "those of at least one window", "those of none");
}

function modelSum({ spaces }: GateStats, key: keyof UnitGateStats): number {
  let sum = 0;
  for (const stats of spaces.values()) for (const value of stats[key]) sum += value;
  return sum;
}

/** Sums of no windows. */
export function emptyGateStats(spaces: readonly Space[]): GateStats {
  const zero = ({ units }: Space): Float64Array => new Float64Array(units);
  return {
    windows: 0,
    loss: 0,
    spaces: new Map(spaces.map((space) => [space.id, { absolute: zero(space), squares: zero(space) }])),
  };
}

/** Adds statistics to the arrays of the sums, in place. @returns the sums with the new counts */
export function accumulateGateStats(sums: GateStats, added: GateStats): GateStats {
  for (const [id, { absolute, squares }] of sums.spaces) {
    const other = added.spaces.get(id);
    if (other?.absolute.length !== absolute.length) throw internalError(`gate statistics of ${id}`);
    for (let u = 0; u < absolute.length; u++) {
      absolute[u]! += other.absolute[u]!;
      squares[u]! += other.squares[u]!;
    }
  }
  return { ...sums, windows: sums.windows + added.windows, loss: sums.loss + added.loss };
}

function statsOfWindow(
  { loss, gates }: WindowGradients,
  { spaces, damped }: { readonly spaces: readonly Space[]; readonly damped: boolean },
): GateStats {
  const gradients = spaces.map((space) => sumOverUnits(gates.get(space.id)!, space));
  const squared = gradients.map((values) => values.map((gradient) => gradient * gradient));
  const factor = damped ? dampingFactor(squared) : 1;
  const moments = spaces.map(({ id }, index) => {
    const values = gradients[index]!;
    const squares = values.map((gradient) => factor * gradient * gradient);
    return [id, { absolute: values.map(Math.abs), squares }] as const;
  });
  return { windows: 1, loss, spaces: new Map(moments) };
}
