/**
 * What the loss says about each unit: moments of the gate gradients over the windows of a set. One gate per unit, so
 * the gradients of a KV group's channels are summed first; squaring channels before summing would make groups look
 * cheap, since the gradients of a head's channels are strongly correlated.
 */
import { internalError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder_runner.ts";
import { naming } from "../graph/finite.ts";
import { type Space, spacesOf } from "../model/spaces.ts";
import { type OnProgress, type ProgressEvent, silent } from "../progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../stages.ts";
import { type TokenSet, textsOf } from "./calibrate.ts";
import { gateGradients, type WindowGradients } from "./gate_gradients.ts";

/** Moments of one space's unit gradients, summed over windows; shape [units] each. */
export interface UnitGateStats {
  /** sum of |d loss / d gate| */
  readonly absolute: Float64Array;
  /** sum of (d loss / d gate)^2 */
  readonly squares: Float64Array;
}

/** Gate statistics of one set. */
export interface GateStats {
  readonly windows: number;
  /** Sum over windows of the mean next-token cross entropy, nats. */
  readonly loss: number;
  /** Keyed by space id. */
  readonly spaces: ReadonlyMap<string, UnitGateStats>;
}

/** Layer inputs kept at once for the way back, bytes. */
const MAX_KEPT_BYTES = 2 ** 28;

export interface GateStatsOptions {
  /**
   * Whether the squares of a window count by the inverse root of their sum over the model, so that a few windows with
   * large gradients do not decide alone.
   */
  readonly damped?: boolean;
  /** What a removed channel is replaced by, [channels] by space id; zero where absent. */
  readonly centers?: ReadonlyMap<string, Float32Array>;
  readonly stage?: string;
  readonly onProgress?: OnProgress;
  /** Keeps its state between lots of windows. */
  readonly checkpoints?: Checkpoints<GateStatsState>;
}

/** What is known between two lots of windows. */
export interface GateStatsState {
  /** Of every set that has been begun; complete but for the last. */
  readonly sets: ReadonlyMap<string, GateStats>;
}

/** Gate statistics of every set, by name. */
export async function gateStatistics(
  runner: DecoderRunner,
  sets: readonly TokenSet[],
  {
    damped = false,
    centers = new Map(),
    stage = "gradients",
    onProgress = silent,
    checkpoints = NO_CHECKPOINTS,
  }: GateStatsOptions = {},
): Promise<ReadonlyMap<string, GateStats>> {
  const spaces = spacesOf(runner.model.spec);
  const total = sets.reduce((sum, { windows }) => sum + 2 * tokensOf(windows), 0);
  let base = 0;
  const result = new Map((await checkpoints.restore())?.sets);
  for (const set of sets) {
    const { name, windows } = set;
    let stats = result.get(name) ?? emptyGateStats(spaces);
    base += 2 * tokensOf(windows.slice(0, stats.windows));
    for (const lot of lotsOf(windows.slice(stats.windows), runner)) {
      // The end is said below, with what came out.
      const report: OnProgress = (event) => {
        if (base + event.done < total) onProgress({ ...event, done: base + event.done, total });
      };
      const gradients = await naming(textsOf(set), () =>
        gateGradients(runner, lot, { centers, stage, onProgress: report }),
      );
      for (const window of gradients) stats = addWindow(stats, window, { spaces, damped });
      base += 2 * tokensOf(lot);
      result.set(name, stats);
      await checkpoints.reached(() => ({ sets: result }));
    }
    result.set(name, stats);
  }
  onProgress({ stage, done: total, total, unit: "tokens", ...lossesOf(result) });
  return result;
}

/** Mean loss of every set, nats per token, for progress events. */
function lossesOf(sets: ReadonlyMap<string, GateStats>): Pick<ProgressEvent, "detail" | "values"> {
  const known = [...sets].filter(([, { windows }]) => windows > 0);
  const values = known.map(([name, { loss, windows }]) => ({ name, value: loss / windows }));
  return {
    detail: `loss ${values.map(({ name, value }) => `${name} ${value.toFixed(2)}`).join(", ")}`,
    values,
  };
}

/** Statistics of two disjoint lots of windows taken together. */
export function mergeGateStats(a: GateStats, b: GateStats): GateStats {
  const spaces = new Map(
    Array.from(a.spaces, ([id, stats]) => {
      const other = b.spaces.get(id);
      if (other === undefined) throw internalError(`no gate statistics of ${id}`);
      const absolute = stats.absolute.map((value, u) => value + other.absolute[u]!);
      const squares = stats.squares.map((value, u) => value + other.squares[u]!);
      return [id, { absolute, squares }] as const;
    }),
  );
  return { windows: a.windows + b.windows, loss: a.loss + b.loss, spaces };
}

/**
 * Several sets as one. Each set's squares are first normalised to sum 1 over the whole model (its absolute values
 * likewise), so that a set with large gradients does not outvote the others; then averaged by the sets' weights.
 */
export function poolGateStats(sets: readonly GateStats[], weights: readonly number[]): GateStats {
  const first = sets[0];
  if (first === undefined) throw internalError("no gate statistics to pool");
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const share = weights.map((weight) => weight / total);
  const pooled = (key: keyof UnitGateStats, id: string): Float64Array => {
    const result = new Float64Array(first.spaces.get(id)![key].length);
    for (const [d, set] of sets.entries()) {
      const sum = modelSum(set, key);
      const factor = sum === 0 ? 0 : share[d]! / sum;
      const values = set.spaces.get(id)![key];
      for (let u = 0; u < result.length; u++) result[u]! += factor * values[u]!;
    }
    return result;
  };
  const spaces = new Map(
    Array.from(first.spaces.keys(), (id) => {
      return [id, { absolute: pooled("absolute", id), squares: pooled("squares", id) }] as const;
    }),
  );
  const loss = sets.reduce((sum, set, d) => sum + (share[d]! * set.loss) / set.windows, 0);
  return { windows: 1, loss, spaces };
}

function modelSum({ spaces }: GateStats, key: keyof UnitGateStats): number {
  let sum = 0;
  for (const stats of spaces.values()) for (const value of stats[key]) sum += value;
  return sum;
}

function emptyGateStats(spaces: readonly Space[]): GateStats {
  const zero = ({ units }: Space): Float64Array => new Float64Array(units);
  return {
    windows: 0,
    loss: 0,
    spaces: new Map(spaces.map((space) => [space.id, { absolute: zero(space), squares: zero(space) }])),
  };
}

/** Adds one window in place of the sums and returns them with the counts moved on. */
function addWindow(
  stats: GateStats,
  { loss, gates }: WindowGradients,
  { spaces, damped }: { readonly spaces: readonly Space[]; readonly damped: boolean },
): GateStats {
  const gradients = spaces.map((space) => unitGradients(gates.get(space.id)!, space));
  let total = 0;
  for (const own of gradients) for (const gradient of own) total += gradient * gradient;
  const share = damped && total > 0 ? 1 / Math.sqrt(total) : 1;
  for (const [index, { id }] of spaces.entries()) {
    const { absolute, squares } = stats.spaces.get(id)!;
    for (const [unit, gradient] of gradients[index]!.entries()) {
      absolute[unit]! += Math.abs(gradient);
      squares[unit]! += share * gradient * gradient;
    }
  }
  return { ...stats, windows: stats.windows + 1, loss: stats.loss + loss };
}

/** Gradients of units from those of their channels. */
function unitGradients(channels: Float32Array, { units, unitChannels }: Space): Float64Array {
  const gradients = new Float64Array(units);
  for (let j = 0; j < units * unitChannels; j++) gradients[Math.floor(j / unitChannels)]! += channels[j]!;
  return gradients;
}

/** Windows in lots whose layer inputs fit into memory. */
function lotsOf(windows: readonly Int32Array[], runner: DecoderRunner): readonly (readonly Int32Array[])[] {
  const { hiddenSize, layers } = runner.model.spec;
  const perWindow = (windows[0]?.length ?? 1) * hiddenSize * layers.length * 4;
  const size = Math.max(1, Math.floor(MAX_KEPT_BYTES / perWindow));
  return Array.from({ length: Math.ceil(windows.length / size) }, (_, i) =>
    windows.slice(i * size, (i + 1) * size),
  );
}

function tokensOf(windows: readonly Int32Array[]): number {
  return windows.reduce((sum, window) => sum + window.length, 0);
}
