/**
 * Writing of .safetensors files with one tensor in memory at a time: headers depend only on names, shapes and dtypes,
 * so they are written before any value is read. The bytes do not depend on the order of the argument.
 *
 * File layout as of the reference (huggingface/safetensors, `prepare` in safetensors/src/tensor.rs); shards and index
 * as of huggingface_hub (`split_torch_state_dict_into_shards`). Writes are not atomic: callers write into the directory
 * of `writeDirectoryAtomically`.
 */
import { join } from "node:path";
import { alignUp } from "../../base/byte_size.ts";
import { GpruneError } from "../../errors.ts";
import { encode, FLOAT_BYTES, type FloatDType } from "../../tensor/dtype.ts";
import { elementCount, shapeText } from "../../tensor/tensor.ts";
import type { KeptFiles } from "../files/output_directory.ts";
import { writeNewFile } from "../files/output_file.ts";
import { badTensor, type DeclaredTensor, writeElements } from "./element_writer.ts";
import { HEADER_LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY } from "./safetensors.ts";
import { INDEX_FILE, SINGLE_FILE } from "./safetensors_shards.ts";

/** Default shard size in bytes: the long-standing 5 GB of transformers, which every host accepts. */
const DEFAULT_SHARD_BYTES = 5_000_000_000;

/** The header is padded to a multiple of this, so that mapped tensors are aligned. */
const HEADER_ALIGNMENT = 8;

/** Elements encoded at a time: a few dozen MiB besides the tensor itself. */
const CHUNK_ELEMENTS = 2 ** 24;

/** Names that no tensor may have: the key of the metadata, and a key that readers in JavaScript must refuse. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([METADATA_KEY, "__proto__"]);

/** A tensor to be written. */
export interface TensorToWrite extends DeclaredTensor {
  /** Stored dtype; values are rounded to nearest, ties to even. */
  readonly dtype: FloatDType;
}

/** Options of {@link writeSafetensors}. */
export interface WriteSafetensorsOptions {
  /** Tensor bytes of one file, unless a single tensor is larger; 5 GB when absent. */
  readonly maxShardBytes?: number;
  /** Called with the number of bytes after every write, and for every shard kept. */
  readonly onBytes?: (bytes: number) => void;
  /** Shards that an interrupted run completed. */
  readonly kept?: KeptFiles | undefined;
}

/**
 * Writes `model.safetensors`, or shards and their index when the tensors exceed `maxShardBytes`, and flushes them.
 * @param directory - must exist and contain no file of these names, except kept ones
 * @throws GpruneError BAD_TENSOR for a repeated or reserved name, an invalid shape, or a shape that is not the declared
 *   one; OUTPUT_FAILED when the file system refuses
 */
export async function writeSafetensors(
  directory: string,
  tensors: readonly TensorToWrite[],
  options: WriteSafetensorsOptions = {},
): Promise<void> {
  const { maxShardBytes = DEFAULT_SHARD_BYTES, onBytes = () => {}, kept } = options;
  const sorted = tensors.toSorted((a, b) => compareText(a.name, b.name));
  checkTensors(sorted);
  const shards = splitIntoShards(sorted, maxShardBytes);
  const names = shards.map((_, i) => shardName(i, shards.length));
  for (const [i, shard] of shards.entries()) {
    if (await kept?.has(names[i]!)) {
      onBytes(bytesOfAll(shard));
      continue;
    }
    await writeShard(join(directory, names[i]!), shard, onBytes);
    await kept?.add(names[i]!);
  }
  if (shards.length === 1) return;
  const index = Buffer.from(indexText(shards, names, bytesOfAll(sorted)));
  await writeNewFile(join(directory, INDEX_FILE), (file) => file.write(index));
}

/** Bytes of tensors, without headers. */
export function bytesOfAll(tensors: readonly TensorToWrite[]): number {
  return tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
}

function bytesOf({ shape, dtype }: TensorToWrite): number {
  return elementCount(shape) * FLOAT_BYTES[dtype];
}

/** Orders by UTF-16 code units, independently of the locale. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** @param sorted - by name, so that equal names are neighbours */
function checkTensors(sorted: readonly TensorToWrite[]): void {
  for (const [i, tensor] of sorted.entries()) {
    const { name, shape } = tensor;
    if (RESERVED_NAMES.has(name)) throw badTensor(name, "a name that files can hold", "a reserved one");
    if (name === sorted[i - 1]?.name) throw badTensor(name, "every tensor once", "two of this name");
    const hasSizes = shape.every((size) => Number.isSafeInteger(size) && size >= 0);
    if (!hasSizes || !Number.isSafeInteger(bytesOf(tensor))) {
      throw badTensor(name, "a shape of whole numbers", shapeText(shape));
    }
  }
}

/** Fills one shard after the other; a tensor that does not fit starts the next one. Returns at least one shard. */
function splitIntoShards(
  tensors: readonly TensorToWrite[],
  maxBytes: number,
): readonly (readonly TensorToWrite[])[] {
  let shard: TensorToWrite[] = [];
  let shardBytes = 0;
  const shards = [shard];
  for (const tensor of tensors) {
    if (shard.length > 0 && shardBytes + bytesOf(tensor) > maxBytes) {
      shard = [];
      shardBytes = 0;
      shards.push(shard);
    }
    shard.push(tensor);
    shardBytes += bytesOf(tensor);
  }
  return shards;
}

/** `model-00002-of-00007.safetensors` for the second of seven; `model.safetensors` for the only one. */
function shardName(index: number, count: number): string {
  if (count === 1) return SINGLE_FILE;
  const digits = (value: number): string => String(value).padStart(5, "0");
  return `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

/** The index as huggingface_hub formats it: indented by two spaces, sorted keys, a final line feed. */
function indexText(
  shards: readonly (readonly TensorToWrite[])[],
  names: readonly string[],
  tensorBytes: number,
): string {
  const weightMap = shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]!] as const));
  const index = { metadata: { total_size: tensorBytes }, weight_map: Object.fromEntries(weightMap) };
  return `${JSON.stringify(index, null, 2)}\n`;
}

async function writeShard(
  path: string,
  tensors: readonly TensorToWrite[],
  onBytes: (bytes: number) => void,
): Promise<void> {
  // Wide elements first, as in the reference: every tensor then starts at a multiple of its element's size.
  const ordered = tensors.toSorted(
    (a, b) => FLOAT_BYTES[b.dtype] - FLOAT_BYTES[a.dtype] || compareText(a.dtype, b.dtype),
  );
  await writeNewFile(path, async (file) => {
    await file.write(headerOf(ordered));
    for (const tensor of ordered) {
      await writeElements(file, tensor, {
        encode: (values) => encode(tensor.dtype, values),
        chunk: CHUNK_ELEMENTS,
        onBytes,
      });
    }
  });
}

/** Length and padded JSON of the header, for tensors stored in the order of the argument. */
function headerOf(tensors: readonly TensorToWrite[]): Uint8Array {
  let offset = 0;
  const entries = [`${JSON.stringify(METADATA_KEY)}:{"format":"pt"}`];
  for (const tensor of tensors) {
    const end = offset + bytesOf(tensor);
    const entry = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    entries.push(`${JSON.stringify(tensor.name)}:${JSON.stringify(entry)}`);
    offset = end;
  }
  const json = Buffer.from(`{${entries.join(",")}}`);
  const length = alignUp(json.length, HEADER_ALIGNMENT);
  if (length > MAX_HEADER_BYTES) {
    const message = `safetensors header: expected at most ${MAX_HEADER_BYTES} bytes, got ${length}`;
    throw new GpruneError("BAD_TENSOR", message, { hint: "Write smaller shards." });
  }
  const header = Buffer.alloc(HEADER_LENGTH_BYTES + length, " ");
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, HEADER_LENGTH_BYTES);
  return header;
}
