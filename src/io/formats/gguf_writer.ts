/**
 * Writing of GGUF files, version 3, with one tensor in memory at a time: the header depends only on names, shapes and
 * types, so it is written before any value is read. Tensors keep the order of the argument. Atomicity is the caller's
 * concern (output_directory.ts); metadata is not interpreted.
 *
 * Format: docs/gguf.md of ggml-org/ggml.
 */
import { alignUp } from "../../base/byte_size.ts";
import { elementCount, shapeText } from "../../tensor/tensor.ts";
import type { OutputFile } from "../files/output_file.ts";
import { badTensor, type DeclaredTensor, writeElements } from "./element_writer.ts";
import { encodeGgml, type WrittenGgmlType, writtenGgmlType } from "./ggml_encode.ts";
import { GGUF_LIMITS } from "./gguf_header.ts";
import { type EncodedValue, encodeText, encodeU32, encodeU64 } from "./gguf_values.ts";

const VERSION = 3;
/** GGUF_DEFAULT_ALIGNMENT of gguf.h, which readers assume without `general.alignment`. */
const ALIGNMENT = 32;
/** Elements encoded at a time, whole blocks of every type. */
const CHUNK_ELEMENTS = 2 ** 20;

/** A tensor to be written; its values must be finite in its type. */
export interface GgufTensorToWrite extends DeclaredTensor {
  readonly type: WrittenGgmlType;
}

/** Content of a GGUF file. */
export interface GgufContent {
  readonly metadata: ReadonlyMap<string, EncodedValue>;
  readonly tensors: readonly GgufTensorToWrite[];
}

/** Options of {@link writeGguf}. */
export interface WriteGgufOptions {
  /** Called with the number of bytes after every write of tensor data. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Writes header and tensors to a new file.
 * @throws GpruneError BAD_TENSOR for a name or shape that the format cannot hold, or a shape that is not the declared
 *   one; OUTPUT_FAILED when the file system refuses
 */
export async function writeGguf(
  file: OutputFile,
  content: GgufContent,
  { onBytes = () => {} }: WriteGgufOptions = {},
): Promise<void> {
  checkTensors(content.tensors);
  const header = headerOf(content);
  await file.write(header);
  await file.write(padding(header.length));
  for (const tensor of content.tensors) {
    await writeElements(file, tensor, {
      encode: (values) => encodeGgml(tensor.type, values),
      chunk: CHUNK_ELEMENTS,
      onBytes,
    });
    await file.write(padding(ggufBytes(tensor)));
  }
}

/** Bytes of a tensor's data, without padding. */
export function ggufBytes({ shape, type }: Pick<GgufTensorToWrite, "shape" | "type">): number {
  const { blockSize, blockBytes } = writtenGgmlType(type);
  return (elementCount(shape) / blockSize) * blockBytes;
}

function checkTensors(tensors: readonly GgufTensorToWrite[]): void {
  const names = new Set<string>();
  for (const tensor of tensors) {
    const { name, shape, type } = tensor;
    if (names.has(name)) throw badTensor(name, "every tensor once", "two of this name");
    names.add(name);
    if (Buffer.byteLength(name) > GGUF_LIMITS.tensorNameBytes) {
      throw badTensor(name, `a name of at most ${GGUF_LIMITS.tensorNameBytes} bytes`, "a longer one");
    }
    const hasSizes = shape.every((size) => Number.isSafeInteger(size) && size >= 0);
    if (!hasSizes || shape.length > GGUF_LIMITS.dimensions || !Number.isSafeInteger(ggufBytes(tensor))) {
      throw badTensor(name, `a shape of whole ${type} blocks`, shapeText(shape));
    }
    const { blockSize } = writtenGgmlType(type);
    if ((shape.at(-1) ?? 1) % blockSize !== 0) {
      throw badTensor(name, `rows of whole ${type} blocks of ${blockSize}`, `rows of ${shape.at(-1)}`);
    }
  }
}

function headerOf({ metadata, tensors }: GgufContent): Uint8Array {
  const parts: Uint8Array[] = [
    Buffer.from("GGUF"),
    encodeU32(VERSION),
    encodeU64(tensors.length),
    encodeU64(metadata.size),
  ];
  for (const [key, value] of metadata) parts.push(encodeText(key), value);
  let offset = 0;
  for (const tensor of tensors) {
    const { name, shape, type } = tensor;
    parts.push(encodeText(name), encodeU32(shape.length), ...shape.toReversed().map(encodeU64));
    parts.push(encodeU32(writtenGgmlType(type).id), encodeU64(offset));
    offset = alignUp(offset + ggufBytes(tensor), ALIGNMENT);
  }
  return Buffer.concat(parts);
}

/** Zeros up to the next multiple of the alignment. */
function padding(length: number): Uint8Array {
  return new Uint8Array(alignUp(length, ALIGNMENT) - length);
}
