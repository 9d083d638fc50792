/** Opens models for a command that computes with them, and closes them after it. */

import type { OnProgress } from "../base/progress.ts";
import type { DeviceFound } from "../graph/runtime/device_check.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { findDeviceFor } from "./device.ts";
import type { DeviceOptions } from "./device_options.ts";
import { openForCommand } from "./models.ts";
import { withProgress } from "./progress.ts";

/** Open models of a command, and what it computes with. */
export interface OpenedModels {
  readonly models: readonly Model[];
  readonly runtime: Runtime;
  readonly device: DeviceFound;
  readonly onProgress: OnProgress;
}

/** Options of commands that compute with models, as commander gives them. */
export interface ComputingOptions extends DeviceOptions {
  readonly threads?: number;
  readonly quiet?: boolean;
}

/**
 * Opens all models, runs `work`, and closes them. All are opened before anything is computed, so that a wrong path is
 * reported at once.
 */
export async function withModels<T>(
  paths: readonly string[],
  { threads, quiet, ...options }: ComputingOptions,
  work: (opened: OpenedModels) => Promise<T>,
): Promise<T> {
  const models: Model[] = [];
  const device = await findDeviceFor(options);
  const runtime = new Runtime({ threads, device: device.used });
  try {
    for (const path of paths) models.push(await openForCommand(path, { quiet }));
    return await withProgress({ quiet }, (onProgress) => work({ models, runtime, device, onProgress }));
  } finally {
    await runtime.close();
    for (const { weights } of models) await weights.close();
  }
}
