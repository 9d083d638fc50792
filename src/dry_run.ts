/** What a run would do, without doing it: everything is read and checked as before a run, and nothing computed or written. */
import type { RunConfig, SettledConfig } from "./config.ts";
import { findDevice } from "./graph/device_check.ts";
import { requireFreeDirectory } from "./io/output_place.ts";
import type { MemoryPlan } from "./memory_plan.ts";
import { openModel } from "./model/checkpoint.ts";
import { parameterCount, prunableParameters } from "./model/spaces.ts";
import type { PruneOptions } from "./pipeline.ts";
import { planRoom } from "./preflight.ts";
import { silent } from "./progress.ts";
import { achievedSparsity } from "./prune/plan.ts";
import {
  allocationOf,
  fallbackByName,
  foresee,
  loadCalibration,
  readPlan,
  requireFit,
  settle,
  warningsOf,
} from "./run_inputs.ts";
import { type PruneResult, usesOf } from "./run_result.ts";
import { metricByName } from "./score/registry.ts";
import { interruptible } from "./stages.ts";

/** What a run would take and give; plain JSON, as `gprune prune --dry-run --json` prints it. */
export interface DryRun extends Pick<PruneResult, "parameters" | "runtimes" | "calibration" | "output"> {
  /** Of attention and FFN, as asked or as the plan to be carried out has it. */
  readonly sparsity: number;
  /** Windows that nothing is learned from, for perplexities before and after, by set. */
  readonly held_out: Readonly<Record<string, number>>;
  readonly memory: MemoryPlan;
  /** Bytes of the output's weights, and those that output and progress take on the disk at most at one time. */
  readonly disk: { readonly output: number; readonly most: number };
  readonly settings: SettledConfig;
}

/**
 * Checks a run and says what it would do.
 * @throws GpruneError as `prune` would before it computes anything
 */
export async function dryRun(
  asked: RunConfig,
  { onProgress = silent, onDevice = () => {}, onWarning = () => {}, signal }: PruneOptions = {},
): Promise<DryRun> {
  const device = await findDevice(asked);
  onDevice(device);
  const metric = metricByName(asked.metric);
  fallbackByName(asked.fallback);
  const given = await readPlan(asked);
  await requireFreeDirectory(asked.output);
  const told = interruptible(onProgress, signal);
  const model = await openModel(asked.model, { onProgress: told });
  try {
    const { spec } = model;
    const config = settle({ ...asked, device: device.used.name, deviceDtype: device.used.dtype }, spec);
    requireFit(given, { model, where: config.plan });
    const runtimes = foresee(config, { model, plan: given });
    for (const text of warningsOf(given, { model, where: config.plan, weights: null })) onWarning(text);
    const sets = await loadCalibration(config, { model, metric, onProgress: told });
    const allocation = allocationOf(config, metric);
    const room = await planRoom({ model, config, sets, given, allocation, metric, kept: 0 });
    const sparsity = given === null ? config.sparsity : achievedSparsity(given, spec);
    const before = parameterCount(spec);
    return {
      output: config.output,
      sparsity,
      parameters: { before, after: Math.round(before - sparsity * prunableParameters(spec)) },
      runtimes,
      calibration: usesOf(sets, config),
      held_out: Object.fromEntries(sets.map(({ name, heldOut }) => [name, heldOut.length])),
      memory: room.memory,
      disk: { output: room.output, most: room.disk },
      settings: config,
    };
  } finally {
    await model.weights.close();
  }
}
