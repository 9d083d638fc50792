/** Opens models for a command and closes them after it. */
import { Runtime } from "../graph/runtime.ts";
import { openModel } from "../model/checkpoint.ts";
import type { Model } from "../model/model.ts";
import type { OnProgress } from "../progress.ts";
import { withProgress } from "./progress.ts";

export interface OpenedModels {
  readonly models: readonly Model[];
  readonly runtime: Runtime;
  readonly onProgress: OnProgress;
}

/** Opens every model before anything is computed, so that a wrong path is reported at once. */
export async function withModels<T>(
  paths: readonly string[],
  { threads, quiet }: { readonly threads?: number | undefined; readonly quiet?: boolean | undefined },
  work: (opened: OpenedModels) => Promise<T>,
): Promise<T> {
  const models: Model[] = [];
  const runtime = new Runtime(threads === undefined ? {} : { threads });
  try {
    await withProgress({ quiet }, async (onProgress) => {
      for (const path of paths) models.push(await openModel(path, { onProgress }));
    });
    return await withProgress({ quiet }, (onProgress) => work({ models, runtime, onProgress }));
  } finally {
    await runtime.close();
    for (const { weights } of models) await weights.close();
  }
}
