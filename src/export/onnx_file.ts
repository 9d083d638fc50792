/**
 * Writing of .onnx files, one tensor in memory at a time: what lies where follows from shapes and formats alone.
 * Weights lie in the file itself up to 2 GB, the limit of a protobuf message, and beyond that in files beside it,
 * `NAME_data`, `NAME_data_1` and so on, as transformers.js calls them. Nothing here is atomic, see
 * io/files/output_directory.ts.
 */
import { basename } from "node:path";
import { alignUp } from "../base/byte_size.ts";
import { internalError } from "../errors.ts";
import type { Graph, Value } from "../graph/ir/graph.ts";
import { byteLength, type ExternalPlace, onnxPieces } from "../graph/ir/onnx.ts";
import { type OutputFile, writeNewFile } from "../io/files/output_file.ts";
import type { TensorSource } from "../tensor/tensor.ts";
import type { StoredMatrix } from "./onnx_matrices.ts";

/** Bytes of weights in one file: below protobuf's 2^31 - 1 with room for the graph, and what browsers can load. */
const MAX_FILE_BYTES = 2_000_000_000;

/** External tensors start at multiples of a page, so that they can be mapped (onnx.proto, external_data). */
const ALIGNMENT = 4096;

/** Bytes given to one call, so that progress moves. */
const CHUNK_BYTES = 2 ** 26;

/** A graph and the tensors that its initializers are made of, in their order. */
export interface OnnxModel {
  readonly graph: Graph;
  readonly stored: readonly StoredMatrix[];
}

export interface WriteOnnxOptions {
  /** Bytes of weights in one file, unless a single tensor is larger; 2 GB when absent. */
  readonly maxFileBytes?: number;
  /** Called after every piece of a weight that is written, with its number of bytes. */
  readonly onBytes?: (bytes: number) => void;
}

/** Bytes of all weights as they are stored. */
export function weightBytes({ stored }: OnnxModel): number {
  return initializersOf(stored).reduce((sum, value) => sum + byteLength(value), 0);
}

/**
 * Writes a model, and the data files beside it if it needs them.
 * @param path - of the .onnx file; nothing may be there
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

/** The bytes of every initializer in turn; each tensor is read once. */
async function* encodedWeights({
  stored,
  weights,
}: Pick<OnnxModel, "stored"> & { readonly weights: TensorSource }): AsyncGenerator<Uint8Array, undefined> {
  for (const { source, encode } of stored) yield* encode(await weights.read(source));
}

function initializersOf(stored: readonly StoredMatrix[]): readonly Value[] {
  return stored.flatMap(({ initializers }) => initializers);
}

/** Fills files in turn; a tensor that does not fit opens the next one. */
function splitIntoFiles(stored: readonly StoredMatrix[], maxBytes: number): readonly (readonly Value[])[] {
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
