/** Exports of many shards that go on where they were cut off. */

import { versions } from "../base/package.ts";
import { silent } from "../base/progress.ts";
import { RunDirectory } from "../io/run/directory.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import type { Model } from "../model/model.ts";
import { type ExportOptions, exportedBytes, exportHuggingFace, storedDType } from "./hf.ts";
import { requireExportRoom } from "./room.ts";

/**
 * Does what `exportHuggingFace` does, but keeps every finished shard in OUT.run until the output is there, and takes
 * those from there that an interrupted export of the same model in the same dtype and shards of the same size has left.
 * @throws GpruneError as `exportHuggingFace`; LOCKED; BAD_CHECKPOINT when the shards are of something else; INTERRUPTED
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
