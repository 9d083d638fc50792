/**
 * What a run would do, without doing it: everything is read and checked as before a run, and nothing pruned or written.
 */
import { availableParallelism, loadavg } from "node:os";
import { silent } from "./base/progress.ts";
import { interruptible } from "./base/stages.ts";
import { type RunConfig, resolveRunConfig, type SettledConfig } from "./config.ts";
import type { MemoryPlan } from "./estimate/memory_plan.ts";
import { planTime, type TimePlan } from "./estimate/time_plan.ts";
import { MICRO_BATCH_TOKENS } from "./graph/decoder/forward.ts";
import { CPU } from "./graph/runtime/device.ts";
import { productSpeed } from "./graph/runtime/product_speed.ts";
import { Runtime } from "./graph/runtime/runtime.ts";
import { requireFreeDirectory } from "./io/files/output_place.ts";
import { requireNothingKept } from "./io/run/directory.ts";
import { parameterCount, prunableParameters } from "./model/spaces.ts";
import type { PruneOptions } from "./pipeline.ts";
import { achievedSparsity } from "./prune/plan.ts";
import { warningsOf } from "./run/inputs.ts";
import { askedRun, type OpeningOptions, openRun } from "./run/opening.ts";
import { planRoom, type Room } from "./run/preflight.ts";
import { type PruneResult, usesOf } from "./run/result.ts";

/** A time plan, and whether other programs kept the machine busy when its speed was measured. */
export interface TimeHere extends TimePlan {
  readonly busy: boolean;
}

/** What a run would take and give; plain JSON, as `gprune prune --dry-run --json` prints it. */
export interface DryRun extends Pick<PruneResult, "parameters" | "runtimes" | "calibration" | "output"> {
  /** Of attention and FFN, as asked or as the plan to be carried out has it. */
  readonly sparsity: { readonly asked: number };
  /** Windows that nothing is learned from, for perplexities before and after, by set. */
  readonly held_out_windows: Readonly<Record<string, number>>;
  readonly memory: MemoryPlan;
  /** Seconds, about, of all and by stage; null for other devices than the CPU. */
  readonly time: TimeHere | null;
  /** Bytes of the output's weights, and those that output and progress take on the disk at most at one time. */
  readonly disk: { readonly output: number; readonly most: number };
  readonly settings: SettledConfig;
}

/** Of the product that is timed, at most: wider ones are no faster. */
const TIMED_WEIGHTS = 2 ** 24;

/** Processes that want a core, for each that there is, from which on others are in the way. */
const BUSY = 1.25;

/** How long it would take here, beside what else the machine does. */
async function timeOf({ run, memory, output }: Room, config: SettledConfig): Promise<TimeHere | null> {
  if (config.device !== CPU.name) return null;
  const busy = loadavg()[0]! > BUSY * availableParallelism();
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

/** Whom to tell, and the signal to stop. */
export type DryRunOptions = Pick<PruneOptions, "onProgress" | "onDevice" | "onWarning" | "signal">;

/**
 * Checks a run and says what it would do.
 * @throws GpruneError as `prune` would before it computes anything; INTERRUPTED after the signal
 */
export async function dryRun(
  asked: RunConfig,
  { onProgress = silent, onDevice = () => {}, onWarning = () => {}, signal }: DryRunOptions = {},
): Promise<DryRun> {
  const told = interruptible(onProgress, signal, 0);
  const run = await askedRun(resolveRunConfig(asked, "configuration"), onDevice);
  await requireFreeDirectory(run.config.output);
  await requireNothingKept(run.config.output);
  const time: OpeningOptions["time"] = (_stage, work) => work();
  const ready = await openRun(run, { onProgress: told, time });
  const { model, config, given, sets } = ready;
  try {
    const { spec } = model;
    for (const text of warningsOf(given, { model, config, weights: null })) onWarning(text);
    const room = await planRoom({ ...ready, kept: 0 });
    const sparsity = given === null ? config.sparsity : achievedSparsity(given, spec);
    const before = parameterCount(spec);
    return {
      output: config.output,
      sparsity: { asked: sparsity },
      parameters: { before, after: Math.round(before - sparsity * prunableParameters(spec)) },
      runtimes: ready.runtimes,
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
