/** What a pruning run gives back: what it made, which settings and inputs determine, and how long that took. */

import { mapValues } from "../base/map_values.ts";
import { versions } from "../base/package.ts";
import type { TokenSet } from "../calibrate/calibrate.ts";
import { learnable, type SampledSet, type SetUse } from "../calibrate/windows.ts";
import { refits, type SettledConfig } from "../config.ts";
import type { MemoryPlan } from "../estimate/memory_plan.ts";
import type { HeldOutScore } from "../evaluate/held_out.ts";
import type { Runtimes } from "../export/runtimes.ts";
import { tokensOf } from "../graph/decoder/forward.ts";
import { deviceText } from "../graph/runtime/device.ts";
import type { DeviceFound } from "../graph/runtime/device_check.ts";
import { peakResidentBytes } from "../io/files/machine.ts";
import type { Widths } from "../prune/plan.ts";

/** What a run did, as `gprune prune --json` prints it. */
export interface PruneResult {
  /** The directory that was written. */
  readonly output: string;
  /** Fractions of the prunable parameters that were to be and were removed; the same when a plan was given. */
  readonly sparsity: { readonly asked: number; readonly achieved: number };
  readonly parameters: { readonly before: number; readonly after: number };
  readonly widths: Widths;
  /** Which programs load the output. */
  readonly runtimes: Runtimes;
  /** Perplexity before and after on windows of the calibration texts that were not used, by set. */
  readonly held_out: Readonly<Record<string, HeldOutScore>>;
  /** Seconds per stage; in run.json those until the report was drawn. */
  readonly timings: Readonly<Record<string, number>>;
  readonly calibration: Readonly<Record<string, SetUse>>;
  /** Calibration tokens per second of the calibration stage; null without one. */
  readonly tokens_per_second: number | null;
  readonly peak_rss_bytes: number;
  /** What the run was to stay within, and what was planned: bytes at most, and by stage; null when nothing was run. */
  readonly memory: Pick<MemoryPlan, "budget" | "peak" | "spilled" | "stages"> | null;
  /** Where it computed, where that was to be, and why it is not the same place. */
  readonly device: { readonly used: string; readonly asked: string; readonly problem: string | null };
  readonly seed: number;
  readonly versions: Readonly<Record<string, string>>;
  /** The report's file; null when none was asked for or it could not be drawn, and why. */
  readonly report: string | null;
  readonly report_problem: string | null;
}

/** The part of a result that settings and inputs determine. */
export type RunOutcome = Pick<
  PruneResult,
  "sparsity" | "parameters" | "widths" | "runtimes" | "held_out" | "calibration"
>;

/** The part that differs from time to time, and what belongs to it. */
export type Measurements = Pick<
  PruneResult,
  "timings" | "tokens_per_second" | "peak_rss_bytes" | "memory" | "device" | "seed" | "versions"
>;

export function measurements(
  { seed }: Pick<PruneResult, "seed">,
  {
    timings,
    speed,
    memory,
    device: { used, asked, problem },
  }: {
    readonly timings: PruneResult["timings"];
    readonly speed: number | null;
    readonly memory: MemoryPlan | null;
    readonly device: DeviceFound;
  },
): Measurements {
  return {
    timings,
    tokens_per_second: speed,
    peak_rss_bytes: peakResidentBytes(),
    memory: memory && pickPlan(memory),
    device: { used: deviceText(used), asked: deviceText(asked), problem },
    seed,
    versions: versions(),
  };
}

function pickPlan({ budget, peak, spilled, stages }: MemoryPlan): PruneResult["memory"] {
  return { budget, peak, spilled, stages };
}

/** Windows and tokens of every set that something is learned from. */
function calibrationSummary(sets: readonly TokenSet[]): PruneResult["calibration"] {
  return Object.fromEntries(
    sets
      .filter(({ windows }) => windows.length > 0)
      .map(({ name, windows }) => [name, { windows: windows.length, tokens: tokensOf(windows) }]),
  );
}

/** The same, with the windows that least squares has of each where that is how the run recovers. */
export function usesOf(
  sets: readonly SampledSet[],
  { recover, refitSamples }: Pick<SettledConfig, "recover" | "refitSamples">,
): PruneResult["calibration"] {
  const used = calibrationSummary(sets);
  if (!refits(recover)) return used;
  const refit = new Map(sets.map((set) => [set.name, learnable(set, refitSamples).windows.length]));
  return mapValues(used, (own, name) => ({ ...own, refit_windows: refit.get(name) }));
}

/** Seconds by stage, those that an interrupted run spent on it included. */
export class Stopwatch {
  readonly seconds: Record<string, number> = {};
  readonly #stages: { readonly restoredSeconds: number };
  #running: { readonly stage: string; readonly start: number; readonly restored: number } | null = null;

  /** @param stages - says how many seconds it has saved so far */
  constructor(stages: { readonly restoredSeconds: number }) {
    this.#stages = stages;
  }

  async time<T>(stage: string, work: () => Promise<T>): Promise<T> {
    this.#running = { stage, start: performance.now(), restored: this.#stages.restoredSeconds };
    const result = await work();
    Object.assign(this.seconds, this.secondsSoFar());
    this.#running = null;
    return result;
  }

  /** The stage that is under way included. */
  secondsSoFar(): Readonly<Record<string, number>> {
    if (this.#running === null) return { ...this.seconds };
    const { stage, start, restored } = this.#running;
    const seconds = (performance.now() - start) / 1000 + this.#stages.restoredSeconds - restored;
    return { ...this.seconds, [stage]: Math.round(1000 * seconds) / 1000 };
  }
}
