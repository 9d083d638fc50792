/**
 * The beginning of a run, which a dry run has as well: what is asked for, and the model and texts that it is asked of.
 */

import type { OnProgress } from "../base/progress.ts";
import type { SampledSet } from "../calibrate/windows.ts";
import type { RunConfig, SettledConfig } from "../config.ts";
import { foreseeRuntimes } from "../export/foresee.ts";
import type { Runtimes } from "../export/runtimes.ts";
import { type DeviceFound, findDevice } from "../graph/runtime/device_check.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { ggufTokenizerObstacle } from "../model/gguf/vocabulary.ts";
import type { Model } from "../model/model.ts";
import type { PruningPlan } from "../prune/plan.ts";
import type { Metric } from "../score/metric.ts";
import { metricByName } from "../score/registry.ts";
import { fallbackByName, loadCalibration, readPlan, requireFit, requireSets, settle } from "./inputs.ts";

/** What a run is made of before the model is read. */
export interface AskedRun {
  /** With the device that is used. */
  readonly config: RunConfig;
  readonly device: DeviceFound;
  readonly metric: Metric;
  readonly fallback: Metric;
  /** The plan to be carried out; null when one is to be made. */
  readonly given: PruningPlan | null;
}

/**
 * Finds what a configuration names, but for the model and the texts.
 * @throws GpruneError UNSUPPORTED when a device that is required is not there, and as `metricByName`, `fallbackByName`,
 * `requireSets` and `readPlan`
 */
export async function askedRun(
  asked: RunConfig,
  onDevice: (device: DeviceFound) => void = () => {},
): Promise<AskedRun> {
  const device = await findDevice(asked);
  onDevice(device);
  // What was used is what the run depends on.
  const { name, dtype: deviceDtype } = device.used;
  const config: RunConfig = { ...asked, device: name, deviceDtype, requireDevice: false };
  const [metric, fallback] = [metricByName(config.metric), fallbackByName(config.fallback)];
  requireSets(config);
  return { config, device, metric, fallback, given: await readPlan(config) };
}

/** A run whose model is open and whose texts are read. */
export interface OpenedRun extends AskedRun {
  readonly config: SettledConfig;
  /** The opener closes its weights. */
  readonly model: Model;
  /** Why llama.cpp cannot have the tokenizer; null where it can. */
  readonly tokenizerObstacle: string | null;
  /** Who will load the result. */
  readonly runtimes: Runtimes;
  /** One that the model is yet to write is as large as it will be. */
  readonly sets: readonly SampledSet[];
}

export interface OpeningOptions {
  readonly onProgress: OnProgress;
  readonly onForeseen?: ((runtimes: Runtimes, config: SettledConfig) => void) | undefined;
  /** Takes the time of a stage. */
  readonly time: <T>(stage: string, work: () => Promise<T>) => Promise<T>;
}

/**
 * Opens the model and reads the texts.
 * @throws GpruneError when one of them is wrong, or the plan is of another model
 */
export async function openRun(
  asked: AskedRun,
  { onProgress, onForeseen, time }: OpeningOptions,
): Promise<OpenedRun> {
  const { given, metric } = asked;
  const model = await time("open", () => openModel(asked.config.model, { onProgress }));
  try {
    const config = settle(asked.config, model.spec);
    requireFit(given, { model, where: config.plan });
    const tokenizerObstacle = ggufTokenizerObstacle(model);
    const runtimes = foreseeRuntimes({
      ...config,
      ...{
        spec: model.spec,
        plan: given,
        addsBiases: config.recover !== "none",
        tokenizer: tokenizerObstacle,
      },
    });
    const sets = await time("tokenize", () => loadCalibration(config, { model, metric, onProgress }));
    onForeseen?.(runtimes, config);
    return { ...asked, config, model, tokenizerObstacle, runtimes, sets };
  } catch (error) {
    await model.weights.close();
    throw error;
  }
}
