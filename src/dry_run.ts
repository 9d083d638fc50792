/**
 * A dry run: reads and checks everything that a run would, estimates its needs, and prunes and writes nothing.
 */
import { loadavg } from "node:os";
import { silent } from "./base/progress.ts";
import { interruptible } from "./base/stages.ts";
import { type RunSettings, resolveRunConfig, type SettledConfig } from "./config.ts";
import type { MemoryPlan } from "./estimate/memory_plan.ts";
import { planTime, type TimePlan } from "./estimate/time_plan.ts";
import { MICRO_BATCH_TOKENS } from "./graph/decoder/forward.ts";
import { CPU } from "./graph/runtime/device.ts";
import { productSpeed } from "./graph/runtime/product_speed.ts";
import { Runtime } from "./graph/runtime/runtime.ts";
import { processorCounts } from "./io/files/machine.ts";
import { requireFreeDirectory } from "./io/files/output_place.ts";
import { requireNothingKept } from "./io/run/directory.ts";
import { parameterCount } from "./model/parameter_counts.ts";
import { prunableParameters } from "./model/spaces.ts";
import type { PruneOptions } from "./pipeline.ts";
import { achievedSparsity } from "./prune/plan.ts";
import { warningsOf } from "./run/inputs.ts";
import { type OpeningOptions, openRun, prepareRun } from "./run/opening.ts";
import { planRoom, type Room } from "./run/preflight.ts";
import { type PruneResult, usesOf } from "./run/result.ts";

/** Estimated times on this machine, and whether other programs kept it busy when its speed was measured. */
export interface TimeHere extends TimePlan {
  readonly busy: boolean;
}

/** Needs and expected result of a run; plain JSON, as `gprune prune --dry-run --json` prints it. */
export interface DryRun extends Pick<PruneResult, "parameters" | "runtimes" | "calibration" | "output"> {
  /** Fraction of the prunable parameters to remove: the configured one, or that of the given plan. */
  readonly sparsity: { readonly asked: number };
  /** Number of windows held out for perplexities before and after, by set. */
  readonly held_out_windows: Readonly<Record<string, number>>;
  readonly memory: MemoryPlan;
  /** Estimated seconds in total and by stage; null for devices other than the CPU. */
  readonly time: TimeHere | null;
  /** Bytes of the output's weights, and the peak of output and progress on the disk. */
  readonly disk: { readonly output: number; readonly most: number };
  readonly settings: SettledConfig;
}

/** Largest number of weights in the matrix product that is timed; larger products are no faster. */
const TIMED_WEIGHTS = 2 ** 24;

/** Load average per processor above which the machine counts as busy. */
const BUSY = 1.25;

/** Estimates the time of a run on this machine under its present load. */
async function timeOf({ run, memory, output }: Room, config: SettledConfig): Promise<TimeHere | null> {
  if (config.device !== CPU.name) return null;
  const busy = loadavg()[0]! > BUSY * processorCounts().all;
  const runtime = new Runtime({ threads: config.threads });
  try {
    const { hiddenSize: inner, layers } = run.spec;
    const widest = Math.max(...layers.map(({ neurons }) => neurons));
    const columns = Math.min(widest, Math.ceil(TIMED_WEIGHTS / inner));
    const speed = await productSpeed(runtime, { batch: 1, rows: MICRO_BATCH_TOKENS, inner, columns });
    return { ...planTime(run, memory.places, { speed, bytes: output }), busy };
  } finally {
    await runtime.close();
  }
}

/** Callbacks, and the signal to stop. */
export type DryRunOptions = Pick<PruneOptions, "onProgress" | "onDevice" | "onWarning" | "signal">;

/**
 * Checks a run, and estimates its needs and result.
 * @throws GpruneError as `prune` would before it computes anything; INTERRUPTED after the signal
 */
export async function dryRun(
  settings: RunSettings,
  { onProgress = silent, onDevice = () => {}, onWarning = () => {}, signal }: DryRunOptions = {},
): Promise<DryRun> {
  const reported = interruptible(onProgress, signal, 0);
  const run = await prepareRun(resolveRunConfig(settings, "configuration"), onDevice);
  await requireFreeDirectory(run.config.output, run.config.model);
  await requireNothingKept(run.config.output);
  const time: OpeningOptions["time"] = (_stage, work) => work();
  const opened = await openRun(run, { onProgress: reported, time });
  const { model, config, given, sets } = opened;
  try {
    const { spec } = model;
    for (const text of warningsOf(given, { model, config, weights: null })) onWarning(text);
    const room = await planRoom({ ...opened, kept: 0 });
    const sparsity = given === null ? config.sparsity : achievedSparsity(given, spec);
    const before = parameterCount(spec);
    return {
      output: config.output,
      sparsity: { asked: sparsity },
      parameters: { before, after: Math.round(before - sparsity * prunableParameters(spec)) },
      runtimes: opened.support,
      calibration: usesOf(sets, config),
      held_out_windows: Object.fromEntries(sets.map(({ name, heldOut }) => [name, heldOut.length])),
      memory: room.memory,
      time: await timeOf(room, config),
      disk: { output: room.output, most: room.disk },
      settings: config,
    };
  } finally {
    await model.weights.close();
  }
}
