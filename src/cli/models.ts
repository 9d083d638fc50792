/** Opens models for a command and closes them after it. */

import type { OnProgress } from "../base/progress.ts";
import type { DeviceFound } from "../graph/runtime/device_check.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { unusedText } from "../model/checkpoint/unused_tensors.ts";
import type { Model } from "../model/model.ts";
import { findDeviceFor } from "./device.ts";
import type { DeviceOptions } from "./device_options.ts";
import { withProgress } from "./progress.ts";
import { say } from "./terminal.ts";

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

/** Opens a model, and warns on stderr of tensors that are not used. */
export async function openForCommand(
  path: string,
  { quiet }: { readonly quiet?: boolean | undefined } = {},
): Promise<Model> {
  const model = await withProgress({ quiet }, (onProgress) => openModel(path, { onProgress }));
  sayWarning(unusedText(model));
  return model;
}

/** Prints a warning on stderr, if there is one. */
export function sayWarning(text: string | null): void {
  if (text !== null) say(`warning: ${text}`);
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
