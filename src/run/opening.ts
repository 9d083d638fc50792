/**
 * The beginning of a run, shared with a dry run: resolves the device, metrics and plan, and opens the model and texts.
 */

import type { OnProgress } from "../base/progress.ts";
import type { SampledSet } from "../calibrate/windows.ts";
import { type RunConfig, refits, type SettledConfig } from "../config.ts";
import { biasesCostPrograms, foreseeSupport, type PlannedRemoval } from "../export/foresee.ts";
import type { ProgramSupport } from "../export/program_support.ts";
import { type DeviceFound, findDevice } from "../graph/runtime/device_check.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { ggufTokenizerObstacle } from "../model/gguf/vocabulary.ts";
import type { Model } from "../model/model.ts";
import { requireSoundFiles } from "../model/tokenizer/files.ts";
import type { PruningPlan } from "../prune/plan.ts";
import type { Metric } from "../score/metric.ts";
import { metricByName } from "../score/registry.ts";
import { fallbackByName, loadCalibration, readPlan, requireFit, requireSets, settle } from "./inputs.ts";

/** A run with its device, metrics and plan, before the model is read. */
export interface PreparedRun {
  /** With the device in use. */
  readonly config: RunConfig;
  readonly device: DeviceFound;
  readonly metric: Metric;
  readonly fallback: Metric;
  /** The given plan; null if the run makes one. */
  readonly given: PruningPlan | null;
}

/**
 * Resolves the device, the metrics and the plan of a configuration.
 * @throws GpruneError UNSUPPORTED when a device that is required is not there, and as `metricByName`, `fallbackByName`,
 * `requireSets` and `readPlan`
 */
export async function prepareRun(
  settings: RunConfig,
  onDevice: (device: DeviceFound) => void = () => {},
): Promise<PreparedRun> {
  const device = await findDevice(settings);
  onDevice(device);
  // The run's facts depend on the device in use, not on the one asked for.
  const { name, dtype: deviceDtype } = device.used;
  const config: RunConfig = { ...settings, device: name, deviceDtype, requireDevice: false };
  const [metric, fallback] = [metricByName(config.metric), fallbackByName(config.fallback)];
  requireSets(config);
  return { config, device, metric, fallback, given: await readPlan(config) };
}

/** A run whose model is open and whose texts are read. */
export interface OpenedRun extends PreparedRun {
  readonly config: SettledConfig;
  /** The opener closes its weights. */
  readonly model: Model;
  /** Why llama.cpp cannot use the tokenizer; null if it can. */
  readonly tokenizerObstacle: string | null;
  /** Which programs will load the result. */
  readonly support: ProgramSupport;
  /** Whether recovery adds biases to output projections that have none. */
  readonly addsBiases: boolean;
  /** A set that the model has not written yet already has its final size. */
  readonly sets: readonly SampledSet[];
}

export interface OpeningOptions {
  readonly onProgress: OnProgress;
  readonly onForeseen?: ((support: ProgramSupport, config: SettledConfig) => void) | undefined;
  /** Runs a stage and measures its time. */
  readonly time: <T>(stage: string, work: () => Promise<T>) => Promise<T>;
}

/**
 * Opens the model and reads the texts.
 * @throws GpruneError if one of them is invalid, or the plan is for another model
 */
export async function openRun(
  prepared: PreparedRun,
  { onProgress, onForeseen, time }: OpeningOptions,
): Promise<OpenedRun> {
  const { given, metric } = prepared;
  const model = await time("open", () => openModel(prepared.config.model, { onProgress }));
  try {
    requireSoundFiles(model);
    const config = settle(prepared.config, model.spec);
    requireFit(given, { model, where: config.plan });
    const tokenizerObstacle = ggufTokenizerObstacle(model);
    const foreseen = { ...config, spec: model.spec, plan: given, tokenizer: tokenizerObstacle };
    const addsBiases = willAddBiases(config, foreseen);
    const support = foreseeSupport({ ...foreseen, addsBiases });
    const sets = await time("tokenize", () => loadCalibration(config, { model, metric, onProgress }));
    onForeseen?.(support, config);
    return { ...prepared, config, model, tokenizerObstacle, support, addsBiases, sets };
  } catch (error) {
    await model.weights.close();
    throw error;
  }
}

/** Whether recovery adds biases to output projections that have none. */
export function willAddBiases({ recover, biases }: SettledConfig, removal: PlannedRemoval): boolean {
  if (!refits(recover)) return recover === "bias";
  return biases === "auto" ? !biasesCostPrograms(removal) : biases === "always";
}
