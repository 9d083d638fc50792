/**
 * Reading of .safetensors files: the header is read and checked when a file is opened, tensors are read on request. The
 * memory of an open file depends on the number of its tensors, not on their size.
 *
 * The checks are those of the reference reader (huggingface/safetensors, `read_metadata` and `validate` in
 * safetensors/src/tensor.rs). Repeated names are refused as well: the format forbids them, but the reference does not
 * check. Whitespace before the header's `{` is accepted, as there, and a byte order mark is not. Values are not
 * checked: NaN is for the caller.
 */

import { plainName } from "../../base/plain_text.ts";
import { GpruneError, withHint } from "../../errors.ts";
import { STORED_DTYPES, type StoredDType, unreadableDType } from "../../tensor/dtype.ts";
import { checkRows, unknownTensor } from "../../tensor/memory.ts";
import {
  elementCount,
  type RowRange,
  type Tensor,
  type TensorInfo,
  type TensorSource,
} from "../../tensor/tensor.ts";
import { PositionalFile } from "../files/file.ts";
import { isJsonObject, MAX_JSON_DEPTH, parseJson } from "../files/json.ts";
import { refuseLfsPointerFile } from "../files/lfs_pointer.ts";
import { hasByteOrderMark } from "../files/utf8.ts";

/** Bytes before the header: its length, an unsigned 64-bit little-endian integer. */
export const HEADER_LENGTH_BYTES = 8;

/** `MAX_HEADER_SIZE` of the reference reader. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Axes of a tensor; the limit of PyTorch and NumPy. */
const MAX_RANK = 64;

/** The only key of the header that is not a tensor. */
export const METADATA_KEY = "__metadata__";

/**
 * Encoded bytes in memory while a tensor is decoded, besides the decoded tensor. A multiple of every element size;
 * larger chunks are not faster.
 */
const CHUNK_BYTES = 2 ** 26;

/** A tensor of a file and the position of its bytes. */
interface Entry extends TensorInfo {
  readonly format: StoredDType;
  /** Bytes from the end of the header. */
  readonly start: number;
  readonly end: number;
}

/** An open .safetensors file; `names` are in the order of the data. */
export interface SafetensorsFile extends TensorSource {
  readonly path: string;
}

/**
 * Opens a file and checks that its header accounts for every byte.
 * @throws GpruneError NOT_FOUND when there is no such file, BAD_FILE when it breaks the format
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await PositionalFile.open(path);
  try {
    const { header, dataStart } = await readHeader(file);
    checkMetadata(header[METADATA_KEY], path);
    const entries = parseEntries(header, path);
    checkSpans(entries, file, dataStart);
    return {
      path,
      names: [...entries.keys()],
      info: (name) => infoOf(entries.get(name)),
      read: (name, rows) => readTensor({ file, entries, dataStart }, name, rows),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw withHint(error, "BAD_FILE", "The file is damaged or incomplete; copy or download it again.");
  }
}

function badFile(where: string, expected: string, got: string): GpruneError {
  return new GpruneError("BAD_FILE", `${where}: expected ${expected}, got ${got}`);
}

/** A value of the header, made safe for a message. */
function quote(value: unknown): string {
  return plainName(typeof value === "string" ? value : String(JSON.stringify(value)));
}

async function readHeader(
  file: PositionalFile,
): Promise<{ readonly header: Readonly<Record<string, unknown>>; readonly dataStart: number }> {
  const { path, size } = file;
  await refuseLfsPointerFile(file, "safetensors");
  if (size < HEADER_LENGTH_BYTES) throw badFile(path, "a safetensors file", `a file of ${size} bytes`);
  const lengthBytes = await file.read(0, HEADER_LENGTH_BYTES);
  const length = new DataView(lengthBytes.buffer).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw badFile(path, `a header of at most ${MAX_HEADER_BYTES} bytes`, `${length}`);
  }
  const dataStart = HEADER_LENGTH_BYTES + Number(length);
  if (dataStart > size) throw badFile(path, `a header of ${length} bytes`, `a file of ${size} bytes`);
  const bytes = await file.read(HEADER_LENGTH_BYTES, Number(length));
  if (hasByteOrderMark(bytes)) throw badFile(path, "a header that is JSON", "a byte order mark");
  const header = parseJson(bytes, {
    where: path,
    maxBytes: MAX_HEADER_BYTES,
    maxDepth: MAX_JSON_DEPTH,
  });
  if (!isJsonObject(header)) throw badFile(path, "a header that is a JSON object", quote(header));
  return { header, dataStart };
}

/** Checks the writer's own entries, usually `format: "pt"`, which are not used. */
function checkMetadata(value: unknown, path: string): void {
  const where = `${path}: ${METADATA_KEY}`;
  if (value === undefined || value === null) return;
  if (!isJsonObject(value)) throw badFile(where, "an object of strings", quote(value));
  const other = Object.entries(value).find(([, text]) => typeof text !== "string");
  if (other !== undefined) throw badFile(`${where}: ${quote(other[0])}`, "a string", quote(other[1]));
}

/** The tensors of the header, each checked by itself, in the order of their data. */
function parseEntries(header: Readonly<Record<string, unknown>>, path: string): ReadonlyMap<string, Entry> {
  const entries: [string, Entry][] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name !== METADATA_KEY) entries.push([name, parseEntry(value, `${path}: ${quote(name)}`)]);
  }
  // An empty tensor comes before the one that starts at the same byte.
  entries.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  return new Map(entries);
}

function parseEntry(value: unknown, where: string): Entry {
  if (!isJsonObject(value)) {
    throw badFile(where, "an object with dtype, shape and data_offsets", quote(value));
  }
  const { dtype, shape, data_offsets: offsets } = value;
  const format = typeof dtype === "string" ? STORED_DTYPES.get(dtype) : undefined;
  if (typeof dtype !== "string" || format === undefined) {
    throw badFile(where, `a dtype of ${[...STORED_DTYPES.keys()].join(", ")}`, quote(dtype));
  }
  if (!isSizeArray(shape) || shape.length > MAX_RANK) {
    throw badFile(where, `a shape of at most ${MAX_RANK} whole numbers`, quote(shape));
  }
  if (!isSizeArray(offsets) || offsets.length !== 2) {
    throw badFile(where, "data_offsets of two whole numbers", quote(offsets));
  }
  const [start, end] = [offsets[0]!, offsets[1]!];
  const bits = shape.reduce((product, size) => product * BigInt(size), BigInt(format.bits));
  if (bits !== BigInt(end - start) * 8n) {
    const expected = `${bits} bits of data for ${dtype} ${quote(shape)}`;
    throw badFile(where, expected, `data_offsets ${quote(offsets)}`);
  }
  return { dtype, format, shape, start, end };
}

/** Whether a value is an array of sizes. Integers beyond 2^53, which JSON rounds, are refused. */
function isSizeArray(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** Checks that tensors follow each other without gaps from the header to the end of the file. */
function checkSpans(entries: ReadonlyMap<string, Entry>, file: PositionalFile, dataStart: number): void {
  let end = 0;
  for (const [name, entry] of entries) {
    if (entry.start !== end) {
      throw badFile(`${file.path}: ${quote(name)}`, `data that starts at ${end}`, `${entry.start}`);
    }
    end = entry.end;
  }
  if (dataStart + end === file.size) return;
  const message = `${file.path}: expected ${dataStart + end} bytes according to its header, got a file of ${file.size}`;
  throw new GpruneError("BAD_FILE", message);
}

function infoOf(entry: Entry | undefined): TensorInfo | undefined {
  return entry && { dtype: entry.dtype, shape: entry.shape };
}

/** An open file with its checked header. */
interface OpenFile {
  readonly file: PositionalFile;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly dataStart: number;
}

/** Reads and decodes a tensor in chunks. */
async function readTensor(
  { file, entries, dataStart }: OpenFile,
  name: string,
  rows?: RowRange,
): Promise<Tensor> {
  const entry = entries.get(name);
  if (entry === undefined) throw unknownTensor(name);
  const where = `${file.path}: ${plainName(name)}`;
  const { bits, decode } = entry.format;
  if (decode === null) throw unreadableDType(where, entry.dtype);
  const { shape, firstElement } = selectRows(entry.shape, name, rows);
  const data = allocate(elementCount(shape), where);
  const elementBytes = bits / 8;
  const chunk = CHUNK_BYTES / elementBytes;
  for (let done = 0; done < data.length; done += chunk) {
    const target = data.subarray(done, done + chunk);
    const offset = dataStart + entry.start + (firstElement + done) * elementBytes;
    decode(await file.read(offset, target.length * elementBytes), target);
  }
  return { shape, data };
}

/** Shape of the selected rows, and the index of their first element in the tensor. */
function selectRows(
  shape: readonly number[],
  name: string,
  rows: RowRange | undefined,
): { readonly shape: readonly number[]; readonly firstElement: number } {
  if (rows === undefined) return { shape, firstElement: 0 };
  checkRows(rows, shape, name);
  const rowShape = shape.slice(1);
  return { shape: [rows.end - rows.start, ...rowShape], firstElement: rows.start * elementCount(rowShape) };
}

/** Allocates a tensor's data. @throws GpruneError BAD_TENSOR when it does not fit into one array */
function allocate(elements: number, where: string): Float32Array {
  try {
    return new Float32Array(elements);
  } catch (cause) {
    const message = `${where}: expected a tensor that fits in memory, got ${elements} elements`;
    throw new GpruneError("BAD_TENSOR", message, { hint: "Read it by rows.", cause });
  }
}
