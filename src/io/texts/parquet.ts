/**
 * Rows of a Parquet file, or the texts or conversations (conversations.ts) of one column. Row groups are read one at a
 * time, only the needed columns, and sizes are checked against limits before decompression: a few bytes of a page may
 * claim to be gigabytes.
 */
import { type FileMetaData, parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors, decompressZstd } from "hyparquet-compressors";
import { namesText } from "../../base/lists.ts";
import { GpruneError, reasonOf } from "../../errors.ts";
import type { PositionalFile } from "../files/file.ts";
import { refuseLfsPointerFile } from "../files/lfs_pointer.ts";
import { CONVERSATION_FIELDS } from "./conversations.ts";
import { evenly, evenlyWithin } from "./evenly.ts";
import { TEXT_FIELDS } from "./text_directory.ts";

/** Row groups read of a file that exceeds the byte limit. */
const MAX_GROUPS = 32;
/** Bytes of the footer; one with ten thousand row groups of ten columns has some 10 MB. */
const MAX_FOOTER_BYTES = 2 ** 26;
/**
 * Bytes read of one row group, compressed or not. Writers aim at 128 MB to 1 GB for all columns together.
 */
const MAX_COLUMN_BYTES = 2 ** 29;
/** Bytes of one page after decompression; writers aim at 1 MB. */
const MAX_PAGE_BYTES = 2 ** 28;
/** Rows of one row group. */
const MAX_ROWS = 2 ** 24;
/** `PAR1`, the end of every Parquet file, as a little-endian number. */
const MAGIC = 0x31524150;

/** A row group: rows `start` to `end`. */
interface RowGroup {
  readonly start: number;
  readonly end: number;
  /** Bytes of the selected columns after decompression. */
  readonly bytes: number;
}

type SchemaTree = ReturnType<typeof parquetSchema>;

/** Column and amount of text to be read. */
export interface ColumnRequest {
  /** UTF-16 code units of all texts; an empty text counts as one, a list of messages as its JSON. */
  readonly maxBytes: number;
  /**
   * When absent: `text`, `content`, with `chats` also `messages` and `conversations`, or else the first text column.
   */
  readonly column?: string | undefined;
  /** Whether a column of conversations may be chosen. */
  readonly chats?: boolean | undefined;
}

/** A text, or a list of messages as plain JSON. */
type ColumnValue = string | readonly unknown[];

/**
 * Texts or lists of a column in row order, without nulls. Beyond `maxBytes` they are sampled: evenly spaced rows of
 * evenly spaced row groups, or the beginning of one text if none fits.
 * @throws GpruneError BAD_FILE for an invalid file or one that exceeds a limit; BAD_TEXT without such a column
 */
export async function readParquetTexts(
  file: PositionalFile,
  { maxBytes, column, chats = false }: ColumnRequest,
): Promise<readonly ColumnValue[]> {
  const metadata = await readMetadata(file);
  const name = chooseColumn(metadata, { path: file.path, column, chats });
  const groups = rowGroups(metadata, { path: file.path, column: name });
  const chosen = sizeOf(groups) <= maxBytes ? groups : evenly(groups, MAX_GROUPS);
  const samples: (readonly Sized[])[] = [];
  for (const group of chosen) {
    const rows = await readGroup(file, { metadata, columns: [name], group });
    const sizedValues = rows.flatMap(({ [name]: value }) => withLength(value, maxBytes));
    samples.push(sample(sizedValues, (maxBytes * group.bytes) / sizeOf(chosen)));
  }
  const fitting = evenlyWithin(samples.flat(), maxBytes, ({ length }) => Math.max(1, length));
  const values = fitting.map(({ value }) => value);
  const [first] = values;
  return values.length === 1 && typeof first === "string" ? [truncateAtSpace(first, maxBytes)] : values;
}

/** A value and its length. */
interface Sized {
  readonly value: ColumnValue;
  /** UTF-16 code units, of a list those of its JSON. */
  readonly length: number;
}

/** None for other types, and for a list over `maxLength`, because conversations are not truncated. */
function withLength(value: unknown, maxLength: number): readonly Sized[] {
  if (typeof value === "string") return [{ value, length: value.length }];
  if (!Array.isArray(value)) return [];
  const list = toPlainJson(value) as readonly unknown[];
  const { length } = JSON.stringify(list);
  return length > maxLength ? [] : [{ value: list, length }];
}

/**
 * The first `limit` rows as objects keyed by column, with nested lists and structures as plain JSON.
 * @throws GpruneError BAD_FILE for an invalid file or one that exceeds a limit
 */
export async function readParquetRows(
  file: PositionalFile,
  limit: number,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const metadata = await readMetadata(file);
  const groups: (readonly Readonly<Record<string, unknown>>[])[] = [];
  for (const group of rowGroups(metadata, { path: file.path })) {
    if (group.start >= limit) break;
    const end = Math.min(group.end, limit);
    groups.push(await readGroup(file, { metadata, group: { ...group, end } }));
  }
  return groups.flat().map((row) => toPlainJson(row) as Readonly<Record<string, unknown>>);
}

/**
 * Makes numbers of the reader's bigints, which are 64-bit integers: those of tasks are labels and indices. Times become
 * texts, as in JSON.
 */
function toPlainJson(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value.toJSON();
  if (Array.isArray(value)) return value.map(toPlainJson);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toPlainJson(inner)]));
}

/** About every n-th text, to fit: a row group can hold more text than bytes, as equal texts are stored once. */
function sample(texts: readonly Sized[], maxLength: number): readonly Sized[] {
  const stride = Math.ceil(texts.reduce((sum, { length }) => sum + length, 0) / maxLength);
  return stride <= 1 ? texts : texts.filter((_, index) => index % stride === 0);
}

/** Truncates a text at the last white space that fits; without white space, not inside a surrogate pair. */
function truncateAtSpace(text: string, length: number): string {
  if (text.length <= length) return text;
  const start = text.slice(0, length);
  const end = start.search(/\s\S*$/);
  return end > 0 ? start.slice(0, end) : start.replace(/[\ud800-\udbff]$/, "");
}

/** Reads the footer after checking its size. */
async function readMetadata(file: PositionalFile): Promise<FileMetaData> {
  await refuseLfsPointerFile(file, "a Parquet file");
  const end = file.size >= 12 ? await file.read(file.size - 8, 8) : new Uint8Array(8);
  const view = new DataView(end.buffer);
  if (view.getUint32(4, true) !== MAGIC) throw badParquet(file.path, "a Parquet file", "something else");
  const length = view.getUint32(0, true);
  const most = Math.min(MAX_FOOTER_BYTES, file.size - 12);
  if (length > most) throw badParquet(file.path, `a footer of at most ${most} bytes`, `${length}`);
  return withBadFile(file.path, () => parquetMetadataAsync(bufferOf(file), { initialFetchSize: length + 8 }));
}

function chooseColumn(
  metadata: FileMetaData,
  { path, column, chats }: { readonly path: string } & Pick<ColumnRequest, "column" | "chats">,
): string {
  const { children: columns } = parquetSchema(metadata);
  const texts = columns.flatMap(({ element, children }) => {
    const {
      name,
      type,
      converted_type: converted,
      logical_type: logical,
      repetition_type: repetition,
    } = element;
    const isText = type === "BYTE_ARRAY" && (converted === "UTF8" || logical?.type === "STRING");
    return isText && children.length === 0 && repetition !== "REPEATED" ? [name] : [];
  });
  const conversations = columns.filter(holdsMessages).map(({ element: { name } }) => name);
  const firstIn = (available: readonly string[], names: readonly string[]): string | undefined =>
    names.find((name) => available.includes(name));
  const found =
    column === undefined
      ? (firstIn(texts, TEXT_FIELDS) ??
        (chats ? firstIn(conversations, CONVERSATION_FIELDS) : undefined) ??
        texts[0])
      : firstIn([...texts, ...conversations], [column]);
  if (found !== undefined) return found;
  const hint = texts.length === 0 ? "It has no text column." : `Its text columns are ${namesText(texts)}.`;
  const wanted = column === undefined ? "a text column" : `a text column ${column}`;
  throw new GpruneError("BAD_TEXT", `${path}: expected ${wanted}, got none`, { hint });
}

/** Whether a column is a list of structures with a role, that is, of messages. */
function holdsMessages({ element, children }: SchemaTree): boolean {
  const isList = element.converted_type === "LIST" || element.logical_type?.type === "LIST";
  const fields = children[0]?.children[0]?.children.map(({ element: { name } }) => name) ?? [];
  return isList && (fields.includes("role") || fields.includes("from"));
}

/**
 * Row groups with the sizes of one column, or of all columns.
 * @throws GpruneError BAD_FILE when a row group exceeds a limit
 */
function rowGroups(
  { row_groups: groups }: FileMetaData,
  { path, column }: { readonly path: string; readonly column?: string },
): readonly RowGroup[] {
  let end = 0;
  return groups.map(({ columns, num_rows }) => {
    const chunks = columns.flatMap(({ meta_data: chunk }) => {
      return column === undefined || chunk?.path_in_schema[0] === column ? [chunk] : [];
    });
    const sum = (key: "total_uncompressed_size" | "total_compressed_size"): number =>
      chunks.reduce((total, chunk) => total + Number(chunk?.[key]), 0);
    const [rows, bytes, compressedBytes] = [
      Number(num_rows),
      sum("total_uncompressed_size"),
      sum("total_compressed_size"),
    ];
    const start = end;
    end += rows;
    if (rows >= 0 && rows <= MAX_ROWS && Math.max(bytes, compressedBytes) <= MAX_COLUMN_BYTES) {
      return { start, end, bytes };
    }
    const limits = `at most ${MAX_ROWS} rows and ${MAX_COLUMN_BYTES} bytes of ${column ?? "all columns"}`;
    throw badParquet(path, `row groups of ${limits}`, `${rows} rows and ${bytes} bytes`);
  });
}

function sizeOf(groups: readonly RowGroup[]): number {
  return groups.reduce((sum, { bytes }) => sum + bytes, 0);
}

async function readGroup(
  file: PositionalFile,
  request: {
    readonly metadata: FileMetaData;
    /** All columns when absent. */
    readonly columns?: string[];
    readonly group: RowGroup;
  },
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { metadata, columns, group } = request;
  return withBadFile(file.path, () =>
    parquetReadObjects({
      file: bufferOf(file),
      metadata,
      ...(columns && { columns }),
      rowStart: group.start,
      rowEnd: group.end,
      compressors: limitedCompressors(),
      parsers: PARSERS,
    }),
  );
}

/** Dates become texts without a time; null for those beyond JavaScript's, which stand for infinity. */
const PARSERS = {
  dateFromDays: (days: number): string | null => new Date(days * 86_400_000).toJSON()?.slice(0, 10) ?? null,
};

/** Decompressors that refuse pages over `MAX_PAGE_BYTES`, and take empty ones, at which that of LZ4 fails. */
function limitedCompressors(): typeof compressors {
  const codecs = {
    ...compressors,
    ZSTD: (input: Uint8Array, length: number) => decompressZstd(input, new Uint8Array(length)),
  };
  return Object.fromEntries(
    Object.entries(codecs).map(([codec, decompress]) => [
      codec,
      (input: Uint8Array, length: number): Uint8Array => {
        if (length === 0) return new Uint8Array(0);
        if (length <= MAX_PAGE_BYTES) return decompress(input, length);
        throw new Error(`a page of ${length} bytes`);
      },
    ]),
  );
}

/** The file as hyparquet's asynchronous buffer. */
function bufferOf(file: PositionalFile): {
  byteLength: number;
  slice(start: number, end?: number): Promise<ArrayBuffer>;
} {
  return {
    byteLength: file.size,
    slice: async (start, end = file.size) => {
      if (end - start > MAX_COLUMN_BYTES) throw new Error(`a read of ${end - start} bytes`);
      return (await file.read(start, end - start)).buffer as ArrayBuffer;
    },
  };
}

/** Turns errors of hyparquet into BAD_FILE. */
async function withBadFile<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof GpruneError) throw cause;
    throw badParquet(path, "a Parquet file", reasonOf(cause));
  }
}

function badParquet(path: string, expected: string, got: string): GpruneError {
  return new GpruneError("BAD_FILE", `${path}: expected ${expected}, got ${got}`, {
    hint: "Download it again or rewrite it with smaller row groups.",
  });
}
