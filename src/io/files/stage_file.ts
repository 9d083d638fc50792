/**
 * Files that hold one plain value: numbers, strings, booleans, null, arrays, records, maps and typed arrays, restored
 * bit by bit. Typed arrays are in the byte order of the machine.
 *
 * Floats that are read on demand (tensor/stash.ts) are written one array at a time. With the option `onDemand` they are
 * restored as such, and then read from this file for as long as it exists.
 *
 * Layout: magic (8 bytes), length of the header (8 bytes, little-endian), header (JSON: the value with references in
 * place of its arrays, and the types and lengths of the arrays), then the arrays, each padded to a multiple of 8 bytes.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { alignUp } from "../../base/byte_size.ts";
import { GpruneError, internalError } from "../../errors.ts";
import { StoredFloats } from "../../tensor/stash.ts";
import { PositionalFile } from "./file.ts";
import { OWN_JSON_LIMITS, parseJson } from "./json.ts";
import type { OutputFile } from "./output_file.ts";

const MAGIC = Buffer.from("GPRUNEv1");
const ALIGNMENT = 8;
/** Bytes written and hashed at a time. */
const CHUNK_BYTES = 2 ** 26;
/** Bytes up to which small pieces are joined. */
const BUFFER_BYTES = 2 ** 20;

const ARRAYS = { Float32Array, Float64Array, Int32Array, Uint8Array } as const;
type TypedName = keyof typeof ARRAYS;
type ArrayName = TypedName | "StoredFloats";
type AnyArray = InstanceType<(typeof ARRAYS)[TypedName]> | StoredFloats;

const arrayName = z.enum(["StoredFloats", ...(Object.keys(ARRAYS) as TypedName[])]);
const headerSchema = z.strictObject({
  value: z.unknown(),
  arrays: z.array(z.tuple([arrayName, z.int().nonnegative()])),
});

/** A file's size and hash. */
export interface Digest {
  readonly bytes: number;
  /** SHA-256, hexadecimal. */
  readonly sha256: string;
}

/**
 * Writes a value.
 * @param onDemand - restore floats that are read on demand as such, which needs a file that stays; else in memory
 * @throws GpruneError OUTPUT_FAILED; INTERNAL for a value that is not plain
 */
export async function writeValue(
  file: OutputFile,
  value: unknown,
  { onDemand = false }: { readonly onDemand?: boolean } = {},
): Promise<Digest> {
  const writer = new HashingWriter(file);
  const arrays: AnyArray[] = [];
  const tree = toTree(value, arrays);
  const typeOf = (array: AnyArray): ArrayName =>
    array instanceof StoredFloats && !onDemand ? "Float32Array" : typeName(array);
  const types = arrays.map((array) => [typeOf(array), array.length]);
  const header = Buffer.from(JSON.stringify({ value: tree, arrays: types }));
  const padded = Buffer.alloc(alignUp(header.length, ALIGNMENT), " ");
  header.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  await writer.add(Buffer.concat([MAGIC, length, padded]));
  for (const entry of arrays) {
    const array = entry instanceof StoredFloats ? await entry.read() : entry;
    await writer.add(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    await writer.add(new Uint8Array(alignUp(array.byteLength, ALIGNMENT) - array.byteLength));
  }
  return writer.finish();
}

/** Joins small pieces into larger writes, and hashes what is written. */
class HashingWriter {
  readonly #file: OutputFile;
  readonly #hash = createHash("sha256");
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #buffered = 0;
  #bytes = 0;

  constructor(file: OutputFile) {
    this.#file = file;
  }

  async add(piece: Uint8Array): Promise<void> {
    if (this.#buffered + piece.length > BUFFER_BYTES) await this.#flush();
    if (piece.length > BUFFER_BYTES) return this.#write(piece);
    this.#buffer.set(piece, this.#buffered);
    this.#buffered += piece.length;
  }

  async finish(): Promise<Digest> {
    await this.#flush();
    return { bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }

  async #flush(): Promise<void> {
    await this.#write(this.#buffer.subarray(0, this.#buffered));
    this.#buffered = 0;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
      const chunk = bytes.subarray(start, start + CHUNK_BYTES);
      await this.#file.write(chunk);
      this.#hash.update(chunk);
      this.#bytes += chunk.length;
    }
  }
}

/**
 * Reads a value.
 * @returns undefined when the file does not have this digest
 * @throws GpruneError NOT_FOUND, FORBIDDEN, or BAD_FILE when it cannot be read
 */
export async function readValue(path: string, { bytes, sha256 }: Digest): Promise<unknown> {
  return PositionalFile.use(path, async (file) => {
    if (file.size !== bytes || (await file.sha256()) !== sha256) return undefined;
    return decode(file);
  });
}

/** Size and hash of a file. @param onBytes - called with the number of bytes of each chunk */
export async function digestFile(path: string, onBytes?: (bytes: number) => void): Promise<Digest> {
  return PositionalFile.use(path, async (file) => ({
    bytes: file.size,
    sha256: await file.sha256(onBytes),
  }));
}

async function decode(file: PositionalFile): Promise<unknown> {
  const start = await file.read(0, 16);
  const length = Number(new DataView(start.buffer).getBigUint64(8, true));
  if (!MAGIC.equals(start.subarray(0, 8)) || length > OWN_JSON_LIMITS.maxBytes) throw notOurs(file.path);
  const limits = { ...OWN_JSON_LIMITS, where: file.path };
  const header = headerSchema.safeParse(parseJson(await file.read(16, length), limits));
  if (!header.success) throw notOurs(file.path);
  const arrays: AnyArray[] = [];
  let offset = 16 + length;
  for (const [type, count] of header.data.arrays) {
    const at = offset;
    const typed = type === "StoredFloats" ? "Float32Array" : type;
    const size = count * ARRAYS[typed].BYTES_PER_ELEMENT;
    if (type === "StoredFloats") arrays.push(new StoredFloats(count, () => floatsAt(file.path, at, size)));
    else arrays.push(new ARRAYS[typed]((await file.read(at, size)).buffer as ArrayBuffer, 0, count));
    offset += alignUp(size, ALIGNMENT);
  }
  return fromTree(header.data.value, arrays);
}

/** Reads floats from a file whose hash has been checked. */
async function floatsAt(path: string, offset: number, size: number): Promise<Float32Array> {
  const bytes = await PositionalFile.use(path, (file) => file.read(offset, size));
  return new Float32Array(bytes.buffer as ArrayBuffer);
}

function notOurs(path: string): GpruneError {
  return new GpruneError("BAD_FILE", `${path}: expected a value saved by gprune, got something else`);
}

/** The value for the header: whatever JSON cannot hold becomes a record with one key that starts with `$`. */
function toTree(value: unknown, arrays: AnyArray[]): unknown {
  if (typeof value === "number") {
    return Number.isFinite(value) && !Object.is(value, -0) ? value : { $number: spellNumber(value) };
  }
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (Array.isArray(value)) return value.map((item) => toTree(item, arrays));
  if (value instanceof Map) {
    return { $map: Array.from(value, ([key, item]) => [toTree(key, arrays), toTree(item, arrays)]) };
  }
  if (ArrayBuffer.isView(value) || value instanceof StoredFloats) {
    arrays.push(value as AnyArray);
    return { $array: arrays.length - 1 };
  }
  if (typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) {
    throw internalError(`a value of type ${typeof value} is not plain`);
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  const items = entries.map(([key, item]) => [key, toTree(item, arrays)] as const);
  return items.some(([key]) => isReserved(key)) ? { $record: items } : Object.fromEntries(items);
}

/** Keys that have a meaning in the header, or that `parseJson` refuses; users may name text sets so. */
function isReserved(key: string): boolean {
  return key.startsWith("$") || key === "__proto__";
}

function fromTree(value: unknown, arrays: readonly AnyArray[]): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => fromTree(item, arrays));
  if ("$number" in value) return value.$number === "-0" ? -0 : Number(value.$number);
  if ("$array" in value) return arrays[Number(value.$array)];
  if ("$map" in value)
    return new Map(fromTree(value.$map, arrays) as readonly (readonly [unknown, unknown])[]);
  if ("$record" in value)
    return Object.fromEntries(fromTree(value.$record, arrays) as readonly (readonly [string, unknown])[]);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromTree(item, arrays)]));
}

function spellNumber(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

/** The type of an array in the header. @throws GpruneError INTERNAL for an unsupported type */
function typeName(array: AnyArray): ArrayName {
  if (array instanceof StoredFloats) return "StoredFloats";
  const name = Object.getPrototypeOf(array).constructor.name as string;
  if (name in ARRAYS) return name as ArrayName;
  // A Buffer is a Uint8Array.
  if (array instanceof Uint8Array) return "Uint8Array";
  throw internalError(`a value of type ${name} is not plain`);
}
