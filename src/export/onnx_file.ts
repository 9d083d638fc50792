/**
 * Writes .onnx files with one tensor in memory at a time: offsets follow from shapes and formats alone. Weights of up
 * to 2 GB, the limit of a protobuf message, lie in the file itself, more in files beside it that transformers.js calls
 * `NAME_data`, `NAME_data_1` and so on. Writing is not atomic here, see io/files/output_directory.ts.
 */
import { basename } from "node:path";
import { alignUp } from "../base/byte_size.ts";
import { internalError } from "../errors.ts";
import type { Graph, Value } from "../graph/ir/graph.ts";
import { byteLength, type ExternalPlace, onnxPieces } from "../graph/ir/onnx.ts";
import { type OutputFile, writeNewFile } from "../io/files/output_file.ts";
import type { TensorSource } from "../tensor/tensor.ts";
import type { StoredWeight } from "./onnx_matrices.ts";

/** Bytes of weights in one file: below protobuf's 2^31 - 1 with room for the graph, and small enough for browsers. */
export const MAX_FILE_BYTES = 2_000_000_000;

/** External tensors start at multiples of a page, so that they can be mapped (onnx.proto, external_data). */
const ALIGNMENT = 4096;

/** Most bytes of one write, so that progress is reported within a large tensor. */
const CHUNK_BYTES = 2 ** 26;

/** A graph, and the checkpoint tensors behind its initializers, in the same order. */
export interface OnnxModel {
  readonly graph: Graph;
  readonly stored: readonly StoredWeight[];
}

export interface WriteOnnxOptions {
  /** Most bytes of weights in one file, unless a single tensor is larger; 2 GB, which is the most, when absent. */
  readonly maxFileBytes?: number;
  /** Called after every written piece of a weight with its number of bytes. */
  readonly onBytes?: (bytes: number) => void;
}

/** Bytes of all weights as they are stored. */
export function weightBytes({ stored }: OnnxModel): number {
  return initializersOf(stored).reduce((sum, value) => sum + byteLength(value), 0);
}

/**
 * Writes a model, with data files beside it where it is too large for one file.
 * @param path - of the .onnx file, which must not exist
 * @returns the number of data files
 * @throws GpruneError OUTPUT_FAILED when the file system refuses; NOT_FINITE naming a tensor
 */
export async function writeOnnxFile(
  path: string,
  model: OnnxModel & { readonly weights: TensorSource },
  { maxFileBytes = MAX_FILE_BYTES, onBytes = () => {} }: WriteOnnxOptions = {},
): Promise<number> {
  const files = weightBytes(model) <= maxFileBytes ? [] : splitIntoFiles(model.stored, maxFileBytes);
  const places = new Map(files.flatMap((values, index) => placesOf(values, dataName(basename(path), index))));
  const data = encodedWeights(model);
  const append = async (file: OutputFile, value: Value): Promise<void> => {
    const { value: bytes } = await data.next();
    if (bytes?.length !== byteLength(value)) {
      throw internalError(`${value.name} has ${bytes?.length} bytes instead of ${byteLength(value)}`);
    }
    for (let done = 0; done < bytes.length; done += CHUNK_BYTES) {
      const chunk = bytes.subarray(done, done + CHUNK_BYTES);
      await file.write(chunk);
      onBytes(chunk.length);
    }
  };
  await writeNewFile(path, async (file) => {
    for (const piece of onnxPieces(model.graph, { places })) {
      if (piece instanceof Uint8Array) await file.write(piece);
      else await append(file, piece);
    }
  });
  for (const [index, values] of files.entries()) {
    await writeNewFile(dataName(path, index), async (file) => {
      for (const value of values) {
        await append(file, value);
        await file.write(new Uint8Array(alignUp(byteLength(value), ALIGNMENT) - byteLength(value)));
      }
    });
  }
  return files.length;
}

/** Yields the bytes of each initializer in order; each tensor is read once. */
async function* encodedWeights({
  stored,
  weights,
}: Pick<OnnxModel, "stored"> & { readonly weights: TensorSource }): AsyncGenerator<Uint8Array, undefined> {
  for (const { source, encode } of stored) yield* encode(await weights.read(source));
}

function initializersOf(stored: readonly StoredWeight[]): readonly Value[] {
  return stored.flatMap(({ initializers }) => initializers);
}

/** Fills one data file after another; a tensor that does not fit opens the next one. */
function splitIntoFiles(stored: readonly StoredWeight[], maxBytes: number): readonly (readonly Value[])[] {
  const files: Value[][] = [];
  let room = 0;
  for (const value of initializersOf(stored)) {
    const bytes = alignUp(byteLength(value), ALIGNMENT);
    if (files.length === 0 || bytes > room) {
      files.push([]);
      room = maxBytes;
    }
    files.at(-1)!.push(value);
    room -= bytes;
  }
  return files;
}

function placesOf(values: readonly Value[], file: string): readonly (readonly [string, ExternalPlace])[] {
  let offset = 0;
  return values.map((value) => {
    const place = { file, offset, length: byteLength(value) };
    offset += alignUp(place.length, ALIGNMENT);
    return [value.name, place] as const;
  });
}

function dataName(model: string, index: number): string {
  return `${model}_data${index === 0 ? "" : `_${index}`}`;
}
