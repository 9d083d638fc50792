/** The identity of a model: SHA-256 of its files. */

import { basename } from "node:path";
import { getOrMakeAsync } from "../../base/map_values.ts";
import { counting, type OnProgress } from "../../base/progress.ts";
import { digestFile } from "../../io/files/stage_file.ts";
import { sha256Hex } from "../../io/store/sha256.ts";
import type { Model } from "../model.ts";
import { modelFiles } from "./checkpoint.ts";

const WEIGHTS_FILE = /\.(safetensors|gguf)$/;

/** Hashes of open models, so that gigabytes are read only once. */
const cache = new WeakMap<Model, Promise<Readonly<Record<string, string>>>>();

/**
 * SHA-256 by file name, hexadecimal, of configuration, weights and carried files. Reads the weights on the first call
 * only.
 * @throws GpruneError BAD_FILE when a file cannot be read
 */
export function modelHashes(model: Model, onProgress: OnProgress): Promise<Readonly<Record<string, string>>> {
  return getOrMakeAsync(cache, model, () => hashFiles(model, onProgress));
}

/** One SHA-256 over the files of a model's weights, whatever their names; null for a model without files. */
export function weightsHash(hashes: Readonly<Record<string, string>>): string | null {
  const files = Object.entries(hashes).filter(([name]) => WEIGHTS_FILE.test(name));
  return files.length === 0 ? null : sha256Hex(JSON.stringify(files.map(([, hash]) => hash).sort()));
}

/** Whether two hashes of weights are equal; undefined where either is unknown. */
export function isSameWeights(
  a: string | null | undefined,
  b: string | null | undefined,
): boolean | undefined {
  return a && b ? a === b : undefined;
}

async function hashFiles(model: Model, onProgress: OnProgress): Promise<Readonly<Record<string, string>>> {
  const files = await modelFiles(model);
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const onBytes = counting(onProgress, { stage: "check files", total, unit: "bytes" });
  const hashes: [string, string][] = [];
  for (const { path } of files) {
    const digest = await digestFile(path, onBytes);
    hashes.push([basename(path), digest.sha256]);
  }
  const carried = model.files.map(({ name, bytes }) => [name, sha256Hex(bytes)] as const);
  return Object.fromEntries([...hashes, ...carried]);
}
