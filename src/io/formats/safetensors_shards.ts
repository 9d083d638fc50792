/**
 * The tensors of a checkpoint directory in Hugging Face layout: `model.safetensors`, or shards and the index
 * `model.safetensors.index.json` that maps tensors to shards. Pickled checkpoints are not read: unpickling runs code.
 *
 * An index may name only plain file names in the directory, and no link may lead out of it (inside.ts).
 */
import { readdir } from "node:fs/promises";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError, withHint } from "../../errors.ts";
import { unknownTensor } from "../../tensor/memory.ts";
import type { TensorSource } from "../../tensor/tensor.ts";
import { unreadable } from "../files/file.ts";
import { fileInside } from "../files/inside.ts";
import { isJsonObject, type JsonLimits, MAX_JSON_DEPTH, readJsonFile } from "../files/json.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";

/** File name of an unsharded checkpoint. */
export const SINGLE_FILE = "model.safetensors";

/** File name of the index that maps tensors to shards. */
export const INDEX_FILE = "model.safetensors.index.json";

/** The largest published index has about 60 MB (497 thousand tensors); the cap of huggingface.js. */
const INDEX_LIMITS: JsonLimits = { maxBytes: 250_000_000, maxDepth: MAX_JSON_DEPTH };

/** All shards stay open, and a usual limit is 1024 open files; the largest published models have some 200 shards. */
const MAX_SHARDS = 1000;

/** No separators, drives, schemes or leading dots, whatever the operating system. */
const SHARD_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors$/;

/** File extensions of checkpoints that need PyTorch or TensorFlow. */
const PICKLED = /\.(bin|pt|pth|ckpt|h5|msgpack)$/;

/**
 * Opens the tensors of a checkpoint directory; `model.safetensors` takes precedence over an index, as in transformers.
 * Reads and checks the headers of all shards, but no tensor.
 * @throws GpruneError NOT_FOUND when there is no such directory or checkpoint, FORBIDDEN when it may not be read,
 *   UNSUPPORTED when it is a pickled one, BAD_FILE when a file breaks its format or the index and the shards disagree
 */
export async function openCheckpointTensors(directory: string): Promise<TensorSource> {
  const files = await readdir(directory).catch((cause: unknown) => {
    throw unreadable(directory, "a checkpoint directory", cause);
  });
  if (files.includes(SINGLE_FILE)) return openSafetensors(await fileInside(directory, SINGLE_FILE));
  if (files.includes(INDEX_FILE)) return openIndexed(directory);
  throw noCheckpoint(directory, files);
}

/** Hint for a directory with a part of a checkpoint, or one under another name; undefined where there is none. */
function leftoverHint(files: readonly string[]): string | undefined {
  const name = files.find((file) => file.includes(".safetensors"));
  if (name === undefined) return undefined;
  return `It has ${plainName(name)}: the download is incomplete or the file has another name; get the missing files.`;
}

function noCheckpoint(directory: string, files: readonly string[]): GpruneError {
  const pickled = files.find((name) => PICKLED.test(name));
  if (pickled === undefined) {
    return new GpruneError(
      "NOT_FOUND",
      `${directory}: expected ${SINGLE_FILE} or ${INDEX_FILE}, got neither`,
      files.includes("onnx")
        ? {
            hint: "It is an ONNX export for ONNX Runtime and transformers.js; give the model that it was made from.",
          }
        : { hint: leftoverHint(files) },
    );
  }
  return new GpruneError("UNSUPPORTED", `${directory}: expected safetensors files, got ${pickled}`, {
    hint: "Convert it once with transformers: AutoModelForCausalLM.from_pretrained(..).save_pretrained(..).",
  });
}

async function openIndexed(directory: string): Promise<TensorSource> {
  const indexPath = await fileInside(directory, INDEX_FILE);
  const fileOf = parseWeightMap(await readJsonFile(indexPath, INDEX_LIMITS), indexPath);
  const shards = await openShards(directory, new Set(fileOf.values()));
  try {
    const shardByName = indexTensors(shards);
    for (const [name, file] of fileOf) {
      if (shardByName.get(name) !== shards.get(file)) {
        throw new GpruneError(
          "BAD_FILE",
          `${indexPath}: expected the tensor ${plainName(name)} in ${file}, got a file without it`,
        );
      }
    }
    return shardedSource(shards, new Map([...shardByName].filter(([name]) => fileOf.has(name))));
  } catch (error) {
    await closeAll(shards);
    throw error;
  }
}

/**
 * The file names of the shards in an index, sorted.
 * @throws GpruneError BAD_FILE for a malformed index, too many shards, or a name that is not a plain file name
 */
export async function shardNames(indexPath: string): Promise<readonly string[]> {
  const fileOf = parseWeightMap(await readJsonFile(indexPath, INDEX_LIMITS), indexPath);
  return [...new Set(fileOf.values())].sort();
}

/** The shard's file name by tensor name. @throws GpruneError BAD_FILE, also for too many shards */
function parseWeightMap(index: unknown, path: string): ReadonlyMap<string, string> {
  const weightMap = isJsonObject(index) ? index.weight_map : undefined;
  if (!isJsonObject(weightMap)) {
    throw new GpruneError("BAD_FILE", `${path}: expected an object with weight_map, got something else`);
  }
  const fileOf = new Map<string, string>();
  for (const [name, file] of Object.entries(weightMap)) {
    if (typeof file !== "string" || !SHARD_NAME.test(file)) {
      const got = plainName(String(JSON.stringify(file)));
      throw new GpruneError("BAD_FILE", `${path}: expected names of .safetensors files, got ${got}`);
    }
    fileOf.set(name, file);
  }
  const { size } = new Set(fileOf.values());
  if (size <= MAX_SHARDS) return fileOf;
  throw new GpruneError("BAD_FILE", `${path}: expected at most ${MAX_SHARDS} shards, got ${size}`);
}

/** Opens the shards in the order of their names; closes all when one fails. */
async function openShards(
  directory: string,
  files: ReadonlySet<string>,
): Promise<ReadonlyMap<string, SafetensorsFile>> {
  const shards = new Map<string, SafetensorsFile>();
  try {
    for (const file of [...files].sort()) {
      shards.set(file, await openSafetensors(await fileInside(directory, file)));
    }
    return shards;
  } catch (error) {
    await closeAll(shards);
    throw withHint(error, "NOT_FOUND", "The index names this file: download or copy it again.");
  }
}

/**
 * The shard that holds each tensor.
 * @throws GpruneError BAD_FILE when two shards have a tensor of the same name
 */
function indexTensors(shards: ReadonlyMap<string, SafetensorsFile>): ReadonlyMap<string, SafetensorsFile> {
  const shardByName = new Map<string, SafetensorsFile>();
  for (const shard of shards.values()) {
    for (const name of shard.names) {
      const other = shardByName.get(name);
      if (other !== undefined) {
        throw new GpruneError(
          "BAD_FILE",
          `${shard.path}: expected the tensor ${plainName(name)} in one shard, got it also in ${other.path}`,
        );
      }
      shardByName.set(name, shard);
    }
  }
  return shardByName;
}

/** @param shardByName - the tensors that the index lists; other tensors of a shard are not part of the model */
function shardedSource(
  shards: ReadonlyMap<string, SafetensorsFile>,
  shardByName: ReadonlyMap<string, SafetensorsFile>,
): TensorSource {
  return {
    names: [...shardByName.keys()],
    info: (name) => shardByName.get(name)?.info(name),
    read: async (name, rows) => {
      const shard = shardByName.get(name);
      if (shard === undefined) throw unknownTensor(name);
      return shard.read(name, rows);
    },
    close: () => closeAll(shards),
  };
}

async function closeAll(shards: ReadonlyMap<string, SafetensorsFile>): Promise<void> {
  await Promise.all([...shards.values()].map((shard) => shard.close()));
}
