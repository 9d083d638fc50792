/**
 * Rows of a Parquet file, or of one of its columns the texts or the lists of messages (conversations.ts). Row groups
 * are read one at a time, of the wanted columns alone, and sizes are checked against limits before anything is
 * unpacked: a few bytes of a page may claim to be gigabytes.
 */
import { type FileMetaData, parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors, decompressZstd } from "hyparquet-compressors";
import { namesText } from "../../base/lists.ts";
import { GpruneError, reasonOf } from "../../errors.ts";
import type { PositionalFile } from "../files/file.ts";
import { CONVERSATION_FIELDS } from "./conversations.ts";
import { evenly, evenlyWithin } from "./evenly.ts";

/**
 * Columns that hold the text when none is named, in order of preference; else conversations, or the first column of
 * texts.
 */
const TEXT_COLUMNS = ["text", "content"] as const;
/** Row groups that are read of a file that is too large. */
const MAX_GROUPS = 32;
/** Bytes of the footer, at most; one with ten thousand row groups of ten columns has some 10 MB. */
const MAX_FOOTER_BYTES = 2 ** 26;
/**
 * Bytes of what is read of one row group, at most, packed or not. Writers aim at 128 MB to 1 GB for all columns
 * together.
 */
const MAX_COLUMN_BYTES = 2 ** 29;
/** Bytes of one page, at most, unpacked; writers aim at 1 MB. */
const MAX_PAGE_BYTES = 2 ** 28;
/** Rows of one row group, at most. */
const MAX_ROWS = 2 ** 24;
/** `PAR1`, which ends every Parquet file. */
const MAGIC = 0x31524150;

/** Rows `start` to `end` and what the wanted columns of theirs take. */
interface RowGroup {
  readonly start: number;
  readonly end: number;
  /** Unpacked. */
  readonly bytes: number;
}

type SchemaTree = ReturnType<typeof parquetSchema>;

/** What of a file is asked for. */
export interface ColumnRequest {
  /** Characters of all texts, as JavaScript counts them; an empty one counts as one, a list of messages as its JSON. */
  readonly maxBytes: number;
  /**
   * When absent: `text`, `content`, conversations if they are wanted (`messages`, `conversations`), or the first column
   * of texts.
   */
  readonly column?: string | undefined;
  readonly chats?: boolean | undefined;
}

/** A text, or a list of messages, as JSON has it. */
type ColumnValue = string | readonly unknown[];

/**
 * Texts of a column, or its lists, in the order of the rows; null is left out. When there are more than `maxBytes` of
 * them, some of evenly spaced rows of evenly spaced row groups; and the beginning of one where none fits.
 * @throws GpruneError BAD_FILE for what is no Parquet file or exceeds a limit; BAD_TEXT without such a column
 */
export async function readParquetTexts(
  file: PositionalFile,
  { maxBytes, column, chats = false }: ColumnRequest,
): Promise<readonly ColumnValue[]> {
  const metadata = await readMetadata(file);
  const name = chooseColumn(metadata, { path: file.path, column, chats });
  const groups = rowGroups(metadata, { path: file.path, column: name });
  const chosen = sizeOf(groups) <= maxBytes ? groups : evenly(groups, MAX_GROUPS);
  const found: (readonly Sized[])[] = [];
  for (const group of chosen) {
    const rows = await readGroup(file, { metadata, columns: [name], group });
    const read = rows.flatMap(({ [name]: value }) => sized(value, maxBytes));
    found.push(sample(read, (maxBytes * group.bytes) / sizeOf(chosen)));
  }
  const fitting = evenlyWithin(found.flat(), maxBytes, ({ length }) => Math.max(1, length));
  const values = fitting.map(({ value }) => value);
  const [first] = values;
  return values.length === 1 && typeof first === "string" ? [beginning(first, maxBytes)] : values;
}

interface Sized {
  readonly value: ColumnValue;
  /** Characters. */
  readonly length: number;
}

/** A list that is too long by itself is left out: half a conversation is none. */
function sized(value: unknown, maxLength: number): readonly Sized[] {
  if (typeof value === "string") return [{ value, length: value.length }];
  if (!Array.isArray(value)) return [];
  const list = plain(value) as readonly unknown[];
  const { length } = JSON.stringify(list);
  return length > maxLength ? [] : [{ value: list, length }];
}

/**
 * The first `limit` rows as objects, keyed by column; lists and structures inside as JSON has them, whole numbers as
 * numbers.
 * @throws GpruneError BAD_FILE for what is no Parquet file or exceeds a limit
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
  return groups.flat().map((row) => plain(row) as Readonly<Record<string, unknown>>);
}

/** Parquet's 64-bit integers are bigints; those of tasks are labels and indices, messages have none. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/** Every text, or every second, third, ... when all are too long; equal texts may be stored once. */
function sample(texts: readonly Sized[], maxLength: number): readonly Sized[] {
  const stride = Math.ceil(texts.reduce((sum, { length }) => sum + length, 0) / maxLength);
  return stride <= 1 ? texts : texts.filter((_, index) => index % stride === 0);
}

/** A text up to the last white space that lets it fit, or where it has none without half a character at its end. */
function beginning(text: string, length: number): string {
  if (text.length <= length) return text;
  const start = text.slice(0, length);
  const end = start.search(/\s\S*$/);
  return end > 0 ? start.slice(0, end) : start.replace(/[\ud800-\udbff]$/, "");
}

/** The footer, whose size is checked before it is read. */
async function readMetadata(file: PositionalFile): Promise<FileMetaData> {
  const end = file.size >= 12 ? await file.read(file.size - 8, 8) : new Uint8Array(8);
  const view = new DataView(end.buffer);
  if (view.getUint32(4, true) !== MAGIC) throw badParquet(file.path, "a Parquet file", "something else");
  const length = view.getUint32(0, true);
  if (length > Math.min(MAX_FOOTER_BYTES, file.size - 12)) {
    throw badParquet(file.path, `a footer of at most ${MAX_FOOTER_BYTES} bytes inside the file`, `${length}`);
  }
  return guarded(file.path, () => parquetMetadataAsync(bufferOf(file), { initialFetchSize: length + 8 }));
}

function chooseColumn(
  metadata: FileMetaData,
  { path, column, chats }: { readonly path: string } & Pick<ColumnRequest, "column" | "chats">,
): string {
  const { children: all } = parquetSchema(metadata);
  const texts = all.flatMap(({ element, children }) => {
    const {
      name,
      type,
      converted_type: converted,
      logical_type: logical,
      repetition_type: repeated,
    } = element;
    const isText = type === "BYTE_ARRAY" && (converted === "UTF8" || logical?.type === "STRING");
    return isText && children.length === 0 && repeated !== "REPEATED" ? [name] : [];
  });
  const conversations = all.filter(holdsMessages).map(({ element: { name } }) => name);
  const has = (list: readonly string[], names: readonly string[]): string | undefined =>
    names.find((name) => list.includes(name));
  const found =
    column === undefined
      ? (has(texts, TEXT_COLUMNS) ??
        (chats ? has(conversations, CONVERSATION_FIELDS) : undefined) ??
        texts[0])
      : has([...texts, ...conversations], [column]);
  if (found !== undefined) return found;
  const hint = texts.length === 0 ? "It has no column of texts." : `It has texts in ${namesText(texts)}.`;
  const wanted = column === undefined ? "a column of texts" : `texts in column ${column}`;
  throw new GpruneError("BAD_TEXT", `${path}: expected ${wanted}, got none`, { hint });
}

/** Whether a column is a list of messages, of structures with a role. */
function holdsMessages({ element, children }: SchemaTree): boolean {
  const isList = element.converted_type === "LIST" || element.logical_type?.type === "LIST";
  const fields = children[0]?.children[0]?.children.map(({ element: { name } }) => name) ?? [];
  return isList && (fields.includes("role") || fields.includes("from"));
}

/**
 * Row groups by the sizes of one column, or of all.
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
    const [rows, bytes, packed] = [
      Number(num_rows),
      sum("total_uncompressed_size"),
      sum("total_compressed_size"),
    ];
    const start = end;
    end += rows;
    if (rows >= 0 && rows <= MAX_ROWS && Math.max(bytes, packed) <= MAX_COLUMN_BYTES) {
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
    /** All when absent. */
    readonly columns?: string[];
    readonly group: RowGroup;
  },
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { metadata, columns, group } = request;
  return guarded(file.path, () =>
    parquetReadObjects({
      file: bufferOf(file),
      metadata,
      ...(columns && { columns }),
      rowStart: group.start,
      rowEnd: group.end,
      compressors: limitedCompressors(),
    }),
  );
}

/** The decompressors, for pages of a bounded size. */
function limitedCompressors(): typeof compressors {
  const own = {
    ...compressors,
    ZSTD: (input: Uint8Array, length: number) => decompressZstd(input, new Uint8Array(length)),
  };
  return Object.fromEntries(
    Object.entries(own).map(([codec, unpack]) => [
      codec,
      (input: Uint8Array, length: number): Uint8Array => {
        if (length <= MAX_PAGE_BYTES) return unpack(input, length);
        throw new Error(`a page of ${length} bytes`);
      },
    ]),
  );
}

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

/** What the reader throws means that the file is bad. */
async function guarded<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof GpruneError) throw cause;
    throw badParquet(path, "a Parquet file", reasonOf(cause));
  }
}

function badParquet(path: string, expected: string, got: string): GpruneError {
  return new GpruneError("BAD_FILE", `${path}: expected ${expected}, got ${got}`, {
    hint: "Download it again, or write it anew with smaller row groups.",
  });
}
