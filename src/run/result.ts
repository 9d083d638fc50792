/**
 * The result of a pruning run: an outcome, which settings and inputs determine, and measurements of time and memory.
 */

import { versions } from "../base/package.ts";
import { learnable, type SampledSet, type SetUse } from "../calibrate/windows.ts";
import { refits, type SettledConfig } from "../config.ts";
import type { MemoryPlan } from "../estimate/memory_plan.ts";
import type { HeldOutScore } from "../evaluate/held_out.ts";
import type { ProgramSupport } from "../export/program_support.ts";
import { tokensOf } from "../graph/decoder/forward.ts";
import { deviceText } from "../graph/runtime/device.ts";
import type { DeviceFound } from "../graph/runtime/device_check.ts";
import { peakResidentBytes } from "../io/files/machine.ts";
import type { Widths } from "../prune/plan.ts";

/** The result of a run, as `gprune prune --json` prints it. */
export interface PruneResult {
  /** The directory that was written. */
  readonly output: string;
  /** Requested and achieved fraction of the prunable parameters removed; equal when a plan was given. */
  readonly sparsity: { readonly asked: number; readonly achieved: number };
  readonly parameters: { readonly before: number; readonly after: number };
  readonly widths: Widths;
  /** Experts by layer, whose neurons `widths` counts together; absent for models without any. */
  readonly experts?: readonly number[] | undefined;
  /** Which programs load the output. */
  readonly runtimes: ProgramSupport;
  /** Perplexity before and after on held-out windows of the calibration texts, by set. */
  readonly held_out: Readonly<Record<string, HeldOutScore>>;
  /** Seconds by stage; in run.json up to the drawing of the report. */
  readonly timings: Readonly<Record<string, number>>;
  readonly calibration: Readonly<Record<string, SetUse>>;
  /** Calibration tokens per second of the calibration stage; null without one. */
  readonly tokens_per_second: number | null;
  readonly peak_rss_bytes: number;
  /** Memory budget and planned peak in bytes, in total and by stage; null when nothing was computed. */
  readonly memory: Pick<MemoryPlan, "budget" | "peak" | "spilled" | "stages"> | null;
  /** Device used, device asked for, and why they differ; null if they do not. */
  readonly device: { readonly used: string; readonly asked: string; readonly problem: string | null };
  readonly seed: number;
  readonly versions: Readonly<Record<string, string>>;
  /** Path of the report, null if it was not requested or could not be drawn; the latter has a `report_problem`. */
  readonly report: string | null;
  readonly report_problem: string | null;
}

/** The part of a result that settings and inputs determine. */
export type RunOutcome = Pick<
  PruneResult,
  "sparsity" | "parameters" | "widths" | "experts" | "runtimes" | "held_out" | "calibration"
>;

/** The part of a result that may differ between equal runs, with seed and versions. */
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

/** Windows and tokens of every set that is learned from and, if the run refits, the windows for least squares. */
export function usesOf(
  sets: readonly SampledSet[],
  { recover, refitSamples }: Pick<SettledConfig, "recover" | "refitSamples">,
): PruneResult["calibration"] {
  const learned = sets.filter(({ windows }) => windows.length > 0);
  const uses = learned.map((set): readonly [string, SetUse] => {
    const { name, windows } = set;
    const refit = refits(recover) && { refit_windows: learnable(set, refitSamples).windows.length };
    return [name, { windows: windows.length, tokens: tokensOf(windows), ...refit }];
  });
  return Object.fromEntries(uses);
}

/** Measures seconds by stage, including those that an interrupted run spent on it. */
export class Stopwatch {
  readonly seconds: Record<string, number> = {};
  readonly #stages: { readonly restoredSeconds: number };
  #running: { readonly stage: string; readonly start: number; readonly restored: number } | null = null;

  /** @param stages - knows the seconds that restored results took so far */
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

  /** Seconds by stage, the running stage included. */
  secondsSoFar(): Readonly<Record<string, number>> {
    if (this.#running === null) return { ...this.seconds };
    const { stage, start, restored } = this.#running;
    const seconds = (performance.now() - start) / 1000 + this.#stages.restoredSeconds - restored;
    return { ...this.seconds, [stage]: Math.round(1000 * seconds) / 1000 };
  }
}
