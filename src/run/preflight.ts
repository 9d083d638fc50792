/**
 * Checks before a run that memory and disk suffice, by estimates from the model's shapes, the settings and the number
 * of tokens. Estimates ignore small items and err upwards. Not here: the plan of memory by stage (memory_plan.ts).
 */

import { orList } from "../base/lists.ts";
import { CHANNEL_STATS_BYTES } from "../calibrate/stats.ts";
import { learnable, type SampledSet } from "../calibrate/windows.ts";
import type { SettledConfig } from "../config.ts";
import { type MemoryPlan, planMemory, waysToNeedLess } from "../estimate/memory_plan.ts";
import { type PlannedRun, refitsOutputs } from "../estimate/planned_run.ts";
import { storedDType } from "../export/hf.ts";
import { requireDisk, requireMemory } from "../export/room.ts";
import { tokensOfSets } from "../graph/decoder/forward.ts";
import { widestState } from "../graph/decoder/layer_structure.ts";
import { memoryLimit } from "../io/files/machine.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { channelCount, prunableParameters, spacesOf } from "../model/spaces.ts";
import { achievedSparsity, type PruningPlan } from "../prune/plan.ts";
import { leftInLayers, leftInOutputs } from "../prune/remaining.ts";
import type { Metric } from "../score/metric.ts";
import { FLOAT_BYTES } from "../tensor/dtype.ts";
import { largestBy } from "../tensor/statistics.ts";
import { decidesByText } from "./inputs.ts";

/** Memory and disk that a run needs, in bytes. */
export interface Needs {
  /** Peak of memory. */
  readonly memory: number;
  /** Approximate size of the output's weights. */
  readonly output: number;
  /** Peak on the disk of the output and progress, besides what a resumed run has there. */
  readonly disk: number;
  /** Advice on how to need less disk, for messages; null if there is no simple way. */
  readonly lessDisk: string | null;
}

/** A run that is about to begin. */
export interface UpcomingRun {
  readonly model: Model;
  readonly config: SettledConfig;
  readonly sets: readonly SampledSet[];
  /** The given plan; null if the run makes one. */
  readonly given: PruningPlan | null;
  readonly metric: Metric;
  /** Bytes that a resumed run has on the disk already. */
  readonly kept: number;
}

/** Memory and disk planned for a run. */
export interface Room extends Pick<Needs, "output" | "disk"> {
  readonly memory: MemoryPlan;
  /** The run that the plan is for. */
  readonly run: PlannedRun;
}

/**
 * Plans the memory and disk of a run, and checks that the machine has them. A given plan determines the sparsity, and
 * nothing is decided from the texts.
 * @throws GpruneError OUT_OF_MEMORY, or OUTPUT_FAILED when the disk is too full
 */
export async function planRoom({ model, sets, given, kept, metric, ...run }: UpcomingRun): Promise<Room> {
  const { spec } = model;
  const config = given === null ? run.config : { ...run.config, sparsity: achievedSparsity(given, spec) };
  const allocation = given === null ? config.allocation : "given";
  const gradients = given === null && metric.input === "gradients";
  const planned: PlannedRun = {
    spec,
    config,
    tokens: tokensOfSets(sets),
    refitTokens: tokensOfSets(sets.map((set) => learnable(set, config.refitSamples))),
    encodingBytes: Math.max(0, ...sets.map((set) => set.encodingBytes ?? 0)),
    checks: sets.some(({ heldOut }) => heldOut.length > 0),
    allocation,
    gradients,
    decidesByText: decidesByText(config, metric),
  };
  const plan = planMemory(planned, memoryLimit());
  const needs = estimateNeeds(model, planned, { plan, kept });
  await requireRoom(needs, config.output, () => waysToNeedLess(planned));
  return { run: planned, memory: plan, output: needs.output, disk: needs.disk };
}

/**
 * Estimates the needs of a run, erring upwards.
 * @param plan - memory by stage
 * @param kept - bytes that a resumed run has on the disk already
 */
export function estimateNeeds(
  model: Model,
  run: PlannedRun,
  { plan, kept = 0 }: { readonly plan: MemoryPlan; readonly kept?: number },
): Needs {
  const { spec, config, tokens, refitTokens } = run;
  const trained = 4 * leftInLayers(spec, config.sparsity);
  const hiddenOf = (count: number): number => 4 * count * widestState(spec);
  const refitted = 4 * leftInOutputs(spec, config.sparsity);
  const { recover } = config;
  const fits = refitsOutputs(run);
  const removed = config.sparsity * prunableParameters(spec);
  const dtype = storedDType(model, config.dtype);
  const output = (parameterCount(spec) - removed) * FLOAT_BYTES[dtype];
  const carried = model.files.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const results = (fits ? refitted : 0) + (recover === "distill" ? trained : 0);
  // A saved state exists twice while it replaces the one before: hidden states, new weights and both their moments.
  const { moments, refined } = plan;
  const channels = spacesOf(spec).reduce((sum, space) => sum + channelCount(space), 0);
  const hidden = hiddenOf(fits ? Math.max(tokens, refitTokens) : tokens);
  // Both halves of every set have statistics.
  const statistics = 2 * CHANNEL_STATS_BYTES * config.calibration.length * channels;
  const uses: readonly (readonly [number, string | null])[] = [
    [moments + output + carried + results, dtype === "F32" ? "--dtype bf16 halves the output" : null],
    [
      2 * (hidden + moments + statistics),
      moments > hidden
        ? "--recover bias needs less"
        : `fewer windows ${fits && refitTokens > tokens ? "for least squares (--refit-samples)" : "(--samples)"} need less`,
    ],
    [refined > 0 ? moments + 2 * refined : 0, "--no-refine needs less"],
    [fits ? moments + 2 * refitted : 0, "--recover bias needs less"],
    [recover === "distill" ? moments + 6 * trained + refitted : 0, "--recover lstsq needs less"],
  ];
  const [peak, lessDisk] = largestBy(uses, ([size]) => size);
  const disk = plan.spilled + peak;
  return { memory: plan.peak, output, disk: Math.max(0, disk - kept), lessDisk };
}

/**
 * Checks that the machine has the memory and disk that a run needs.
 * @param ways - settings that would need less memory
 * @throws GpruneError OUT_OF_MEMORY, or OUTPUT_FAILED when the disk is too full
 */
export async function requireRoom(
  { memory, disk, lessDisk }: Omit<Needs, "output">,
  output: string,
  ways: () => readonly string[] = () => [],
): Promise<void> {
  requireMemory(memory, "this run", () => {
    const lower = ways();
    return lower.length === 0 ? undefined : `Use ${orList(lower)}.`;
  });
  const instead = lessDisk === null ? "" : `; ${lessDisk}`;
  await requireDisk(output, disk, `Free some space or write to another disk${instead}.`);
}
