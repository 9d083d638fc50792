/** Hugging Face exports that resume after an interruption: finished shards are kept and not written again. */

import { versions } from "../base/package.ts";
import { silent } from "../base/progress.ts";
import { RunDirectory } from "../io/run/directory.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import type { Model } from "../model/model.ts";
import { type ExportOptions, exportedBytes, exportHuggingFace, storedDType } from "./hf.ts";
import { requireExportRoom } from "./room.ts";

/**
 * Exports like `exportHuggingFace`, but keeps every finished shard in OUT.run until the output is complete, and reuses
 * the shards that an interrupted export of the same model, dtype and shard size left there.
 * @throws GpruneError as `exportHuggingFace`; LOCKED; BAD_CHECKPOINT when the shards are of another export; INTERRUPTED
 *   after the signal
 */
export async function exportResumably(
  model: Model,
  directory: string,
  options: Omit<ExportOptions, "write" | "documents" | "lastDocuments"> & { readonly signal?: AbortSignal },
): Promise<void> {
  const { dtype = "auto", maxShardBytes, signal, onProgress = silent } = options;
  const stages = await RunDirectory.claim(directory, { resume: true, signal });
  try {
    const bytes = exportedBytes(model, dtype) - stages.keptBytes;
    await requireExportRoom(model, { output: directory, bytes });
    stages.begin({
      export: { dtype: storedDType(model, dtype), ...(maxShardBytes !== undefined && { maxShardBytes }) },
      model: await modelHashes(model, onProgress),
      versions: { ...versions() },
    });
    await exportHuggingFace(model, directory, {
      ...options,
      write: (target, fill) => stages.writeOutput(target, fill),
    });
    stages.clear();
  } finally {
    await stages.leave();
  }
}
