/**
 * The header of a GGUF file, versions 2 and 3: metadata and tensor descriptions. Every count and length is checked
 * against a named limit and the remaining bytes before anything is allocated for it. Tensor data is not read here.
 *
 * Format: docs/gguf.md of ggml-org/ggml; the checks follow gguf.cpp and tests/test-gguf.cpp of llama.cpp.
 */
import { alignUp } from "../../base/byte_size.ts";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import { elementCount } from "../../tensor/tensor.ts";
import type { ByteCursor } from "./byte_cursor.ts";
import { type GgmlType, ggmlTypeOfId } from "./ggml_types.ts";
import { GGUF_TYPE_IDS as ID } from "./gguf_values.ts";

export type GgufScalar = string | number | bigint | boolean;
/** A metadata value; 64-bit integers are numbers when exact, else bigints. */
export type GgufValue = GgufScalar | readonly GgufScalar[];

/** Description of one tensor. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgmlType;
  /** Outermost axis first: the reverse of the file's order, so a weight is [out, in]. */
  readonly shape: readonly number[];
  /** From the start of the data section, bytes. */
  readonly offset: number;
  /** Size of the data, bytes, without padding. */
  readonly bytes: number;
}

/** A part of a file, bytes: `start` inclusive, `end` exclusive. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

/** The parsed header. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Position of the type and value of each metadata key in the file. */
  readonly valueSpans: ReadonlyMap<string, ByteSpan>;
  readonly tensors: readonly GgufTensor[];
  /** Tensor data starts at multiples of this, bytes. */
  readonly alignment: number;
  /** File offset of the data section. */
  readonly dataStart: number;
}

/** Limits far above real files, yet low enough that a hostile header cannot exhaust memory. */
export const GGUF_LIMITS = {
  /** Bytes of the header; those of models with the largest vocabularies have some 15 MB. */
  headerBytes: 134_217_728,
  /** Metadata entries; real files have tens. */
  entries: 100_000,
  /** Bytes of a string: chat templates have kilobytes; the cap of huggingface.js. */
  stringBytes: 10_000_000,
  /** Elements of an array: vocabularies have up to 260 000, merges about twice that. */
  arrayElements: 4_000_000,
  /** Tensors; real models have up to some tens of thousands. */
  tensors: 1_000_000,
  /** GGML_MAX_DIMS of ggml.h. */
  dimensions: 4,
  /** GGML_MAX_NAME of ggml.h is 64 with the terminating zero. */
  tensorNameBytes: 63,
} as const;

/** "GGUF" read as a little-endian number. */
const MAGIC = 0x46554747;
const VERSIONS: readonly number[] = [2, 3];
/** GGUF_DEFAULT_ALIGNMENT of gguf.h. */
const DEFAULT_ALIGNMENT = 32;
/** Bytes of the smallest metadata entry and tensor description, those with empty names. */
const MIN_ENTRY_BYTES = 13;
const MIN_TENSOR_BYTES = 24;

interface ScalarType {
  /** For messages. */
  readonly name: string;
  readonly bytes: number;
  get(view: DataView, at: number): GgufScalar;
}

/** Scalar types by id. */
const SCALAR_TYPES: ReadonlyMap<number, ScalarType> = new Map<number, ScalarType>([
  [ID.uint8, { name: "uint8", bytes: 1, get: (view, at) => view.getUint8(at) }],
  [ID.int8, { name: "int8", bytes: 1, get: (view, at) => view.getInt8(at) }],
  [ID.uint16, { name: "uint16", bytes: 2, get: (view, at) => view.getUint16(at, true) }],
  [ID.int16, { name: "int16", bytes: 2, get: (view, at) => view.getInt16(at, true) }],
  [ID.uint32, { name: "uint32", bytes: 4, get: (view, at) => view.getUint32(at, true) }],
  [ID.int32, { name: "int32", bytes: 4, get: (view, at) => view.getInt32(at, true) }],
  [ID.float32, { name: "float32", bytes: 4, get: (view, at) => view.getFloat32(at, true) }],
  [ID.bool, { name: "bool", bytes: 1, get: (view, at) => view.getUint8(at) !== 0 }],
  [ID.uint64, { name: "uint64", bytes: 8, get: (view, at) => narrow(view.getBigUint64(at, true)) }],
  [ID.int64, { name: "int64", bytes: 8, get: (view, at) => narrow(view.getBigInt64(at, true)) }],
  [ID.float64, { name: "float64", bytes: 8, get: (view, at) => view.getFloat64(at, true) }],
]);

/**
 * Reads a header from the start of a file.
 * @param path - for messages
 * @throws GpruneError BAD_FILE for a malformed header, UNSUPPORTED for other versions and unknown tensor types
 */
export async function readGgufHeader(cursor: ByteCursor, path: string): Promise<GgufHeader> {
  return new HeaderReader(cursor, path).read();
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

class HeaderReader {
  readonly #cursor: ByteCursor;
  readonly #path: string;
  readonly #valueSpans = new Map<string, ByteSpan>();
  #alignment = DEFAULT_ALIGNMENT;

  constructor(cursor: ByteCursor, path: string) {
    this.#cursor = cursor;
    this.#path = path;
  }

  async read(): Promise<GgufHeader> {
    await this.#cursor.need(8, "GGUF magic and version");
    this.#checkMagic(this.#cursor.u32());
    this.#checkVersion(this.#cursor.u32());
    await this.#cursor.need(16, "GGUF counts");
    const tensorCount = this.#count("tensors", GGUF_LIMITS.tensors, MIN_TENSOR_BYTES);
    const entryCount = this.#count("metadata entries", GGUF_LIMITS.entries, MIN_ENTRY_BYTES);
    const metadata = await this.#metadata(entryCount);
    const tensors = await this.#tensors(tensorCount);
    const dataStart = alignUp(this.#cursor.offset, this.#alignment);
    return { metadata, valueSpans: this.#valueSpans, tensors, alignment: this.#alignment, dataStart };
  }

  async #metadata(count: number): Promise<Map<string, GgufValue>> {
    const metadata = new Map<string, GgufValue>();
    for (let index = 0; index < count; index++) {
      const key = await this.#string("a metadata key", GGUF_LIMITS.stringBytes);
      if (key === "") throw this.#bad("metadata key", "a name", "an empty string");
      if (metadata.has(key)) throw this.#bad(`metadata key ${key}`, "unique keys", "a duplicate");
      const start = this.#cursor.offset;
      await this.#cursor.need(4, `the type of ${key}`);
      const type = this.#cursor.u32();
      const value = await this.#value(type, key);
      this.#valueSpans.set(key, { start, end: this.#cursor.offset });
      if (key === "general.alignment") this.#alignment = this.#checkAlignment(type, value);
      metadata.set(key, value);
    }
    return metadata;
  }

  async #value(type: number, key: string): Promise<GgufValue> {
    if (type === ID.string) return this.#string(key, GGUF_LIMITS.stringBytes);
    if (type === ID.array) return this.#array(key);
    const scalar = this.#scalarType(type, key);
    await this.#cursor.need(scalar.bytes, key);
    return scalar.get(this.#cursor.bytes(scalar.bytes), 0);
  }

  async #array(key: string): Promise<readonly GgufScalar[]> {
    await this.#cursor.need(12, `array ${key}`);
    const type = this.#cursor.u32();
    const isString = type === ID.string;
    const scalar = isString ? undefined : this.#scalarType(type, key);
    const count = this.#count(`elements of ${key}`, GGUF_LIMITS.arrayElements, scalar?.bytes ?? 8);
    if (scalar === undefined) {
      const strings: string[] = [];
      for (let i = 0; i < count; i++) strings.push(await this.#string(key, GGUF_LIMITS.stringBytes));
      return strings;
    }
    await this.#cursor.need(count * scalar.bytes, key);
    const view = this.#cursor.bytes(count * scalar.bytes);
    return Array.from({ length: count }, (_, i) => scalar.get(view, i * scalar.bytes));
  }

  async #tensors(count: number): Promise<readonly GgufTensor[]> {
    const tensors: GgufTensor[] = [];
    const names = new Set<string>();
    for (let index = 0; index < count; index++) {
      const tensor = await this.#tensor();
      if (names.has(tensor.name)) throw this.#bad(`tensor ${tensor.name}`, "unique names", "a duplicate");
      names.add(tensor.name);
      tensors.push(tensor);
    }
    return tensors;
  }

  async #tensor(): Promise<GgufTensor> {
    const name = await this.#string("a tensor name", GGUF_LIMITS.tensorNameBytes);
    const what = `tensor ${plainName(name)}`;
    await this.#cursor.need(4, what);
    const rank = this.#cursor.u32();
    if (rank > GGUF_LIMITS.dimensions) {
      throw this.#bad(what, `at most ${GGUF_LIMITS.dimensions} dimensions`, String(rank));
    }
    await this.#cursor.need(rank * 8 + 12, what);
    const dimensions = Array.from({ length: rank }, () => this.#safeInteger(`dimension of ${what}`));
    const type = this.#tensorType(this.#cursor.u32(), what);
    const offset = this.#safeInteger(`offset of ${what}`);
    const rowLength = dimensions[0] ?? 1;
    if (rowLength % type.blockSize !== 0) {
      throw this.#bad(what, `rows of whole ${type.name} blocks of ${type.blockSize}`, `rows of ${rowLength}`);
    }
    const bytes = (elementCount(dimensions) / type.blockSize) * type.blockBytes;
    if (!Number.isSafeInteger(elementCount(dimensions)) || !Number.isSafeInteger(bytes)) {
      throw this.#bad(what, "a size below 2^53 bytes", `dimensions ${dimensions.join(" x ")}`);
    }
    return { name, type, shape: dimensions.toReversed(), offset, bytes };
  }

  /**
   * Reads a 64-bit count and checks it against its limit and, at `minBytes` each, the remaining bytes and the limit of
   * the header.
   */
  #count(what: string, limit: number, minBytes: number): number {
    const count = this.#cursor.u64();
    if (count > BigInt(limit)) throw this.#bad(what, `at most ${limit}`, String(count));
    const { offset, remaining } = this.#cursor;
    const bytes = Number(count) * minBytes;
    if (bytes > remaining) {
      throw this.#bad(what, `no more than fit the ${remaining} bytes left`, String(count));
    }
    if (offset + bytes > GGUF_LIMITS.headerBytes) {
      throw this.#bad(what, `a header of at most ${GGUF_LIMITS.headerBytes} bytes`, "a longer one");
    }
    return Number(count);
  }

  async #string(what: string, limit: number): Promise<string> {
    await this.#cursor.need(8, what);
    const length = this.#count(`bytes of ${what}`, limit, 1);
    await this.#cursor.need(length, what);
    return this.#cursor.text(length);
  }

  #safeInteger(what: string): number {
    const value = this.#cursor.u64();
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw this.#bad(what, "a number below 2^53", String(value));
  }

  #scalarType(type: number, key: string): ScalarType {
    const scalar = SCALAR_TYPES.get(type);
    if (scalar !== undefined) return scalar;
    const got = type === ID.array ? "an array of arrays" : `type ${type}`;
    throw this.#bad(`metadata ${key}`, "a value type of the GGUF format", got);
  }

  #tensorType(id: number, what: string): GgmlType {
    const type = ggmlTypeOfId(id);
    if (type !== undefined) return type;
    throw new GpruneError(
      "UNSUPPORTED",
      `${this.#path}: ${what}: expected a known ggml type, got type ${id}`,
      {
        hint: "Types that ggml has removed, and newer ones, are not supported; convert the file to Q8_0 or F16.",
      },
    );
  }

  #checkMagic(magic: number): void {
    if (magic === MAGIC) return;
    const got = JSON.stringify(String.fromCharCode(...[0, 8, 16, 24].map((shift) => (magic >> shift) & 255)));
    const message = `${this.#path}: first bytes: expected "GGUF", got ${plainName(got)}`;
    throw new GpruneError("BAD_FILE", message, {
      hint: "Give a .gguf file or a Hugging Face directory; for a directory, do not name a file in it.",
    });
  }

  #checkVersion(version: number): void {
    if (VERSIONS.includes(version)) return;
    // A small version number in the other byte order has its digits in the upper half.
    const swapped = (version & 0xffff) === 0 && version !== 0;
    const hint = swapped
      ? "The file is big-endian; convert it with gguf_convert_endian.py of llama.cpp."
      : "Convert the model again with a current llama.cpp.";
    const message = `${this.#path}: expected GGUF version ${VERSIONS.join(" or ")}, got ${version}`;
    throw new GpruneError("UNSUPPORTED", message, { hint });
  }

  #checkAlignment(type: number, value: GgufValue): number {
    const isPowerOfTwo = typeof value === "number" && value > 0 && Number.isInteger(Math.log2(value));
    if (type === ID.uint32 && isPowerOfTwo) return value;
    const got = `${String(value)} of type ${SCALAR_TYPES.get(type)?.name ?? "string or array"}`;
    throw this.#bad("general.alignment", "a uint32 power of two", got);
  }

  #bad(where: string, expected: string, got: string): GpruneError {
    return new GpruneError(
      "BAD_FILE",
      `${this.#path}: ${plainName(where)}: expected ${expected}, got ${plainName(got)}`,
    );
  }
}
