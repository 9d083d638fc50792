/**
 * Reading of GGUF files as tensor sources: the header is parsed when the file is opened, tensors are read by position
 * and dequantised to float32 on demand. Models are the concern of src/model/gguf/model.ts.
 */

import { plainName } from "../../base/plain_text.ts";
import { GpruneError, internalError, withHint } from "../../errors.ts";
import { type BlockLayout, type BlockSource, type BlockTensor, emptyBlocks } from "../../tensor/blocks.ts";
import { checkRows, unknownTensor } from "../../tensor/memory.ts";
import {
  elementCount,
  type RowRange,
  type Tensor,
  type TensorInfo,
  type TensorSource,
} from "../../tensor/tensor.ts";
import { PositionalFile } from "../files/file.ts";
import { refuseLfsPointerFile } from "../files/lfs_pointer.ts";
import { ByteCursor } from "./byte_cursor.ts";
import { ggmlBlockLayout, unpackGgmlBlocks } from "./ggml_blocks.ts";
import { dequantizerOf, type GgmlType } from "./ggml_types.ts";
import { type GgufHeader, type GgufTensor, type GgufValue, readGgufHeader } from "./gguf_header.ts";
import type { EncodedValue } from "./gguf_values.ts";

export type { GgufValue } from "./gguf_header.ts";

/** Quantised bytes in memory while a tensor is read. */
const CHUNK_BYTES = 2 ** 23;

/** An open GGUF file. */
export interface GgufFile {
  readonly path: string;
  /** Metadata by key, in file order. */
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** The bytes of a metadata value in the file, type included. */
  readonly encodedValue: (key: string) => Promise<EncodedValue>;
  /** Tensors by their names in the file, shapes outermost axis first; `info().dtype` is the ggml type name. */
  readonly source: TensorSource;
  /** The same, but tensors of more than two axes are the matrices of their rows. */
  readonly matrices: TensorSource;
}

/**
 * Opens a GGUF file of version 2 or 3 and checks its header and the layout of its data.
 * @throws GpruneError NOT_FOUND, BAD_FILE for a malformed or truncated file, UNSUPPORTED for other versions
 */
export async function openGguf(path: string): Promise<GgufFile> {
  const file = await PositionalFile.open(path);
  try {
    await refuseLfsPointerFile(file, "a GGUF file");
    const header = await readGgufHeader(new ByteCursor(file), path);
    checkLayout(header, file);
    const encodedValue = async (key: string): Promise<EncodedValue> => {
      const span = header.valueSpans.get(key);
      if (span === undefined) throw internalError(`${path} has no ${key}`);
      return file.read(span.start, span.end - span.start);
    };
    const source = new GgufSource(file, header);
    const matrices = new GgufSource(file, { ...header, tensors: header.tensors.map(asMatrix) });
    return { path, metadata: header.metadata, encodedValue, source, matrices };
  } catch (error) {
    await file.close();
    throw withHint(error, "BAD_FILE", "The file is damaged or not a valid GGUF; copy or download it again.");
  }
}

/** Checks that every tensor is aligned and inside the file, and that no two overlap. */
function checkLayout({ tensors, alignment, dataStart }: GgufHeader, file: PositionalFile): void {
  const inOrder = tensors.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = 0;
  for (const { name, offset, bytes } of inOrder) {
    const where = `${file.path}: tensor ${plainName(name)}`;
    if (offset % alignment !== 0) {
      throw new GpruneError(
        "BAD_FILE",
        `${where}: expected an offset aligned to ${alignment}, got ${offset}`,
      );
    }
    if (offset < end) {
      const message = `${where}: expected data after the tensor before it, got an overlap at offset ${offset}`;
      throw new GpruneError("BAD_FILE", message);
    }
    end = offset + bytes;
    if (dataStart + end > file.size) {
      const got = `a file of ${file.size} bytes`;
      throw new GpruneError("BAD_FILE", `${where}: expected data up to byte ${dataStart + end}, got ${got}`, {
        hint: "The file is truncated; copy or download it again.",
      });
    }
  }
}

class GgufSource implements TensorSource {
  readonly names: readonly string[];
  readonly blocks: BlockSource = {
    layout: (name) => this.#layout(name),
    read: (name) => this.#readBlocks(name),
  };
  readonly #file: PositionalFile;
  readonly #tensors: ReadonlyMap<string, GgufTensor>;
  readonly #dataStart: number;

  constructor(file: PositionalFile, header: GgufHeader) {
    this.names = header.tensors.map((tensor) => tensor.name);
    this.#file = file;
    this.#tensors = new Map(header.tensors.map((tensor) => [tensor.name, tensor]));
    this.#dataStart = header.dataStart;
  }

  info(name: string): TensorInfo | undefined {
    const tensor = this.#tensors.get(name);
    return tensor && { dtype: tensor.type.name, shape: tensor.shape };
  }

  async read(name: string, rows?: RowRange): Promise<Tensor> {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw unknownTensor(name);
    if (rows !== undefined) checkRows(rows, tensor.shape, name);
    const { shape, type } = tensor;
    const { start, end } = rows ?? { start: 0, end: shape[0] ?? 1 };
    const rowLength = elementCount(shape.slice(1));
    // Only the rows of a quantised vector can start inside a block.
    const first = Math.floor((start * rowLength) / type.blockSize) * type.blockSize;
    const last = Math.ceil((end * rowLength) / type.blockSize) * type.blockSize;
    const data = await this.#elements(tensor, first, last);
    return {
      shape: shape.length === 0 ? shape : shape.with(0, end - start),
      data: data.subarray(start * rowLength - first, end * rowLength - first),
    };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #layout(name: string): BlockLayout | undefined {
    const tensor = this.#tensors.get(name);
    return tensor?.shape.length === 2 ? ggmlBlockLayout(tensor.type.name) : undefined;
  }

  async #readBlocks(name: string): Promise<BlockTensor> {
    const tensor = this.#tensors.get(name);
    const layout = this.#layout(name);
    if (tensor === undefined || layout === undefined) throw unknownTensor(name);
    const { type } = tensor;
    const target = emptyBlocks(tensor.shape as readonly [number, number], layout);
    const elements = elementCount(tensor.shape);
    const chunk = elementsPerChunk(type);
    for (let first = 0; first < elements; first += chunk) {
      const bytes = await this.#bytes(tensor, first, Math.min(chunk, elements - first));
      unpackGgmlBlocks(type.name, bytes, { target, first });
    }
    return target;
  }

  /** The bytes of `count` elements from `first`, both multiples of the block size. */
  #bytes({ type, offset }: GgufTensor, first: number, count: number): Promise<Uint8Array> {
    return this.#file.read(this.#dataStart + offset + byteSize(type, first), byteSize(type, count));
  }

  /** Elements `first` to `last`, both multiples of the block size, dequantised in chunks of whole blocks. */
  async #elements(tensor: GgufTensor, first: number, last: number): Promise<Float32Array> {
    const { type, name } = tensor;
    const dequantize = dequantizerOf(type, `${this.#file.path}: tensor ${plainName(name)}`);
    const data = new Float32Array(last - first);
    const chunk = elementsPerChunk(type);
    for (let done = 0; done < data.length; done += chunk) {
      const count = Math.min(chunk, data.length - done);
      const bytes = await this.#bytes(tensor, first + done, count);
      dequantize(bytes, data.subarray(done, done + count));
    }
    return data;
  }
}

/** A tensor of three or more axes as the matrix of its rows. */
function asMatrix(tensor: GgufTensor): GgufTensor {
  const { shape } = tensor;
  return shape.length < 3 ? tensor : { ...tensor, shape: [elementCount(shape.slice(0, -1)), shape.at(-1)!] };
}

function byteSize(type: GgmlType, elements: number): number {
  return (elements / type.blockSize) * type.blockBytes;
}

function elementsPerChunk(type: GgmlType): number {
  return Math.floor(CHUNK_BYTES / type.blockBytes) * type.blockSize;
}
