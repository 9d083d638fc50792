/** Opens models for a command and closes them after it. */
import type { DeviceFound } from "../graph/device_check.ts";
import { Runtime } from "../graph/runtime.ts";
import { openModel } from "../model/checkpoint.ts";
import type { Model } from "../model/model.ts";
import type { OnProgress } from "../progress.ts";
import { type DeviceOptions, findDeviceFor } from "./device.ts";
import { withProgress } from "./progress.ts";

export interface OpenedModels {
  readonly models: readonly Model[];
  readonly runtime: Runtime;
  readonly device: DeviceFound;
  readonly onProgress: OnProgress;
}

/** What a command that opens models is told about computing. */
export interface ComputingOptions extends DeviceOptions {
  readonly threads?: number;
  readonly quiet?: boolean;
}

/** Opens every model before anything is computed, so that a wrong path is reported at once. */
export async function withModels<T>(
  paths: readonly string[],
  { threads, quiet, ...options }: ComputingOptions,
  work: (opened: OpenedModels) => Promise<T>,
): Promise<T> {
  const models: Model[] = [];
  const device = await findDeviceFor(options);
  const runtime = new Runtime({ threads, device: device.used });
  try {
    await withProgress({ quiet }, async (onProgress) => {
      for (const path of paths) models.push(await openModel(path, { onProgress }));
    });
    return await withProgress({ quiet }, (onProgress) => work({ models, runtime, device, onProgress }));
  } finally {
    await runtime.close();
    for (const { weights } of models) await weights.close();
  }
}
