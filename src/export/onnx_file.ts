/**
 * Writes .onnx files with one tensor in memory at a time, or some rows of it: offsets follow from shapes and formats.
 * Weights of up to 2 GB, the limit of a protobuf message, lie in the file itself, more in files beside it that
 * transformers.js calls `NAME_data`, `NAME_data_1` and so on. Writing is not atomic here, see
 * io/files/output_directory.ts.
 */
import { basename } from "node:path";
import { alignUp } from "../base/byte_size.ts";
import { internalError } from "../errors.ts";
import type { Graph, Value } from "../graph/ir/graph.ts";
import { byteLength, type ExternalPlace, onnxPieces } from "../graph/ir/onnx.ts";
import { type OutputFile, writeNewFile } from "../io/files/output_file.ts";
import { READ_ELEMENTS } from "../io/formats/element_writer.ts";
import { expertMatrices, type StackedExperts } from "../model/stacked_experts.ts";
import { elementCount, type Tensor, type TensorSource } from "../tensor/tensor.ts";
import type { StoredWeight } from "./onnx_matrices.ts";

/** Bytes of weights in one file: below protobuf's 2^31 - 1 with room for the graph, and small enough for browsers. */
export const MAX_FILE_BYTES = 2_000_000_000;

/** External tensors start at multiples of a page, so that they can be mapped (onnx.proto, external_data). */
const ALIGNMENT = 4096;

/** Float32-sized copies of what is read, alive at one time: as read; transposed or cut into blocks; and encoded. */
const COPIES = 3;

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
  /** Most elements of a tensor that are read at once, if it is encoded by rows; `READ_ELEMENTS` when absent. */
  readonly readElements?: number;
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
  { maxFileBytes = MAX_FILE_BYTES, readElements = READ_ELEMENTS, onBytes = () => {} }: WriteOnnxOptions = {},
): Promise<number> {
  const files = weightBytes(model) <= maxFileBytes ? [] : splitIntoFiles(model.stored, maxFileBytes);
  const places = new Map(files.flatMap((values, index) => placesOf(values, dataName(basename(path), index))));
  const data = encodedWeights(model, readElements);
  const append = async (file: OutputFile, value: Value): Promise<void> => {
    let left = byteLength(value);
    while (left > 0) {
      const { value: bytes } = await data.next();
      if (bytes === undefined || bytes.length > left)
        throw internalError(`${value.name} has ${bytes?.length} bytes where ${left} are left`);
      left -= bytes.length;
      for (let done = 0; done < bytes.length; done += CHUNK_BYTES) {
        const chunk = bytes.subarray(done, done + CHUNK_BYTES);
        await file.write(chunk);
        onBytes(chunk.length);
      }
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

/** Elements of a tensor that are read at once: all, or those of some rows, of at most `limit` but of one at least. */
function elementsAtOnce({ byRows, shape }: StoredWeight, limit: number): number {
  const count = elementCount(shape);
  return byRows ? Math.min(count, Math.max(limit, count / shape[0]!)) : count;
}

/** Most bytes of memory that writing a weight takes. */
export function writingMemory(stored: StoredWeight): number {
  const { initializers, byRows, shape, expert } = stored;
  const [, ...later] = initializers;
  const kept = byRows ? later.reduce((sum, value) => sum + byteLength(value), 0) : 0;
  // Matrices in rows of all experts are read with all others, and taken apart.
  const all = expert?.experts.inRow ? 2 * 4 * expert.experts.count * elementCount(shape) : 0;
  return COPIES * 4 * elementsAtOnce(stored, READ_ELEMENTS) + kept + all;
}

/**
 * Yields the bytes of each initializer in order, in pieces; each tensor is read once. Of one that is read by rows, all
 * initializers but the first, which are small beside it, are kept until all rows are there.
 */
async function* encodedWeights(
  { stored, weights }: Pick<OnnxModel, "stored"> & { readonly weights: TensorSource },
  readElements: number,
): AsyncGenerator<Uint8Array, undefined> {
  const reader = new StoredReader(weights);
  for (const weight of stored) {
    const later: Uint8Array[][] = weight.initializers.slice(1).map(() => []);
    for await (const tensor of reader.parts(weight, elementsAtOnce(weight, readElements))) {
      const [first, ...others] = weight.encode(tensor) as [Uint8Array, ...Uint8Array[]];
      yield first;
      for (const [index, bytes] of others.entries()) later[index]!.push(bytes);
    }
    for (const pieces of later) yield* pieces;
  }
}

/** Reads the weights of a checkpoint as they are stored. */
class StoredReader {
  readonly #weights: TensorSource;
  /** The last weight whose experts are in its rows. */
  #apart: { readonly source: string; readonly matrices: readonly Tensor[] } | undefined;

  constructor(weights: TensorSource) {
    this.#weights = weights;
  }

  /** A tensor as a whole, or some rows after others. @param elements - most at a time */
  async *parts(
    stored: StoredWeight,
    elements: number = Number.POSITIVE_INFINITY,
  ): AsyncGenerator<Tensor, undefined> {
    const { source, shape, expert } = stored;
    if (expert?.experts.inRow) {
      yield (await this.#takenApart(source, expert.experts))[expert.index]!;
      return;
    }
    const [rows = 1] = shape;
    const step = Math.floor((rows * elements) / elementCount(shape));
    if (step >= rows && expert === undefined) {
      yield await this.#weights.read(source);
      return;
    }
    const first = rows * (expert?.index ?? 0);
    for (let start = 0; start < rows; start += step) {
      const end = Math.min(rows, start + step);
      yield await this.#weights.read(source, { start: first + start, end: first + end });
    }
  }

  async #takenApart(source: string, experts: StackedExperts): Promise<readonly Tensor[]> {
    if (this.#apart?.source !== source) {
      this.#apart = undefined;
      this.#apart = { source, matrices: expertMatrices(await this.#weights.read(source), experts) };
    }
    return this.#apart.matrices;
  }
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
