/**
 * Text from files: plain text, JSON Lines or a JSON list with a text field, Parquet with a text column, or a directory
 * of such files (selected by text_directory.ts); local or on the hub. A file over the byte limit is sampled in evenly
 * spaced pieces, cut at line ends or, in a text without lines, at spaces, so that huge corpora cost no more than small
 * ones. The files of a directory share the limit. If that makes pieces too short, fewer are read of each file; if there
 * are too many files for even one piece each, evenly spaced files are read.
 */
import { stat } from "node:fs/promises";
import { namesText } from "../../base/lists.ts";
import { plainName } from "../../base/plain_text.ts";
import { type OnProgress, silent } from "../../base/progress.ts";
import { GpruneError, hasCode } from "../../errors.ts";
import { endingOf, kindOfPath, PositionalFile } from "../files/file.ts";
import { isJsonObject, MAX_JSON_DEPTH, parseJson } from "../files/json.ts";
import { refuseLfsPointer } from "../files/lfs_pointer.ts";
import { decodeUtf8 } from "../files/utf8.ts";
import { isHubAddress, parseHubAddress } from "../hub/address.ts";
import { type HubOptions, hubFile } from "../hub/hub.ts";
import {
  asConversation,
  CONVERSATION_FIELDS,
  type Conversation,
  type ConversationRenderer,
} from "./conversations.ts";
import { evenlyWithin } from "./evenly.ts";
import { jsonLines } from "./json_lines.ts";
import { parquetTexts } from "./parquet_process.ts";
import {
  type FoundFile,
  type FoundFiles,
  PACKED,
  skippedText,
  TEXT_FIELDS,
  textFilesIn,
} from "./text_directory.ts";

/** Pieces read of a file that exceeds its share of the limit. */
const MAX_PIECES = 32;
/** Least bytes of a piece when many files share the limit: room for whole documents, and for windows inside them. */
const MIN_PIECE_BYTES = 2 ** 16;
const LINE_FEED = 10;
const SPACE = 32;
/** Paths of pipes that a shell passes, such as `<(COMMAND)`; child processes do not inherit them. */
const STREAM = /^\/(?:dev\/stdin|(?:dev|proc\/self)\/fd\/.*)$/;
/** Bytes of a JSON list, which is parsed as one document. */
const MAX_LIST_BYTES = 2 ** 28;

/** Options of {@link readText}. */
export interface TextOptions extends HubOptions {
  /**
   * Returns the renderer of conversations, which are refused without one. Called only for sources that may hold
   * conversations, because most texts are plain and then need no chat template.
   */
  readonly renderer?: (() => ConversationRenderer | undefined) | undefined;
}

/** A text on the disk. */
export interface TextPlace {
  readonly path: string;
  /** The requested column or field. */
  readonly column: string | undefined;
}

/**
 * Resolves a name to a local path: downloads a text of the hub unless it is cached, and splits `#COLUMN` off the names
 * of Parquet and JSON files and of directories.
 * @param name - a path, or `hf://datasets/ORG/NAME[@REVISION]/FILE`; either may end with `#COLUMN`
 * @throws GpruneError BAD_ARGUMENT for an address without a file, and as `hubFile`
 */
export async function textPlace(name: string, options: HubOptions = {}): Promise<TextPlace> {
  if (!isHubAddress(name)) return localPlace(name);
  const { file, ...repo } = parseHubAddress(name)!;
  if (file !== undefined) {
    return { path: await hubFile({ ...repo, file }, options), column: repo.column };
  }
  throw new GpruneError("BAD_ARGUMENT", `${name}: expected a file, got a repository`, {
    hint: "Give one of its files: hf://datasets/ORG/NAME/FILE.",
  });
}

/** Whether a text may exist, without a request to the hub. @throws GpruneError BAD_ARGUMENT */
export async function mayBeText(name: string): Promise<boolean> {
  if (isHubAddress(name)) return parseHubAddress(name) !== null;
  return STREAM.test(name) || (await kindOfPath((await localPlace(name)).path)) !== "missing";
}

/** Whether a name means the files of a local directory. */
export async function isTextDirectory(name: string): Promise<boolean> {
  return !isHubAddress(name) && (await kindOfPath((await localPlace(name)).path)) === "directory";
}

async function localPlace(name: string): Promise<TextPlace> {
  const { path, column } = /^(?<path>.+)#(?<column>[^#/]+)$/.exec(name)?.groups ?? {};
  if (path === undefined || (await kindOfPath(name)) !== "missing") return { path: name, column: undefined };
  return (await mayHoldDocuments(path)) ? { path, column } : { path: name, column: undefined };
}

/** Whether a path may have columns or fields, and conversations in them. */
async function mayHoldDocuments(path: string): Promise<boolean> {
  return READERS.has(endingOf(path)) || (await kindOfPath(path)) === "directory";
}

/**
 * Reads a text. Documents, and files of a directory sorted by path, are joined by blank lines; conversations are
 * rendered and concatenated without separators. In a directory, a column applies to its Parquet and JSON files only.
 * Progress reports files that are skipped, because there are too many or because they are not text.
 * @param name - as for `textPlace`
 * @param maxBytes - bytes read in total
 * @throws GpruneError NOT_FOUND when there is no such file, FORBIDDEN when it may not be read, BAD_TEXT when it is not
 *   UTF-8 or has no text field or no text; and as `textPlace`
 */
export async function readText(name: string, maxBytes: number, options: TextOptions = {}): Promise<string> {
  const { onProgress = silent, renderer } = options;
  const place = await textPlace(name, options);
  const render = (await mayHoldDocuments(place.path)) ? renderer?.() : undefined;
  const { files: found, skipped } = await textFiles(place, { chats: render !== undefined, onProgress });
  const { files, ...share } = await divideLimit(found, maxBytes);
  const total = files.length;
  const of = total < found.length ? ` of ${found.length}` : "";
  const but = skipped.size === 0 ? "" : `, skipped ${skippedText(skipped)}`;
  const stage = `read ${total}${of} files of ${place.path}${but}`;
  const parts: string[] = [];
  let notUtf8 = 0;
  for (const [index, file] of files.entries()) {
    const part = await readTextFile(file, { column: place.column, render, ...share });
    if (part === null) notUtf8++;
    else parts.push(part);
    if (of + but !== "") onProgress({ stage, done: index + 1, total, unit: "files" });
  }
  const skippedStage = `skipped files of ${place.path} that are not UTF-8 after their start`;
  if (notUtf8 > 0) onProgress({ stage: skippedStage, done: notUtf8, total: notUtf8, unit: "files" });
  const text = parts.filter((part) => part !== "").join("\n\n");
  if (text.trim() !== "") return text;
  throw new GpruneError("BAD_TEXT", `${name}: expected text, got none`, {
    hint: "It is empty, contains only white space, or is a single line that is too long.",
  });
}

/** The files to be read, and the share of the limit that each may use. */
interface Share {
  readonly files: readonly FoundFile[];
  /** Bytes per file. */
  readonly maxBytes: number;
  /** Pieces read of a larger file. */
  readonly pieces: number;
}

/** Divides the limit among the files, or among evenly spaced ones if pieces would otherwise be too short. */
async function divideLimit(files: readonly FoundFile[], maxBytes: number): Promise<Share> {
  const minPiece = Math.min(MIN_PIECE_BYTES, Math.max(1, Math.floor(maxBytes / MAX_PIECES)));
  const equal = { files, maxBytes: Math.floor(maxBytes / files.length), pieces: MAX_PIECES };
  if (equal.maxBytes >= MAX_PIECES * minPiece) return equal;
  const sized = await Promise.all(files.map(async (file) => ({ file, size: await textBytes(file.path) })));
  if (sized.every(({ size }) => size <= equal.maxBytes)) return equal;
  const chosen = evenlyWithin(sized, maxBytes, ({ size }) => Math.min(size, minPiece));
  const share = Math.max(minPiece, Math.floor(maxBytes / chosen.length));
  return {
    files: chosen.map(({ file }) => file),
    maxBytes: share,
    pieces: Math.min(MAX_PIECES, Math.floor(share / minPiece)),
  };
}

/**
 * Upper bound of the bytes of text in a file, infinite for a compressed one. A missing file counts as empty: its reader
 * reports the error.
 */
async function textBytes(path: string): Promise<number> {
  if (endingOf(path) === PACKED) return Number.POSITIVE_INFINITY;
  return (await stat(path).catch(() => null))?.size ?? 0;
}

/** The file itself, or the selected files of a directory. */
async function textFiles(
  { path, column }: TextPlace,
  options: { readonly chats: boolean; readonly onProgress: OnProgress },
): Promise<FoundFiles> {
  const kind = await kindOfPath(path);
  if (kind === "directory") return textFilesIn(path, { column, ...options });
  if (kind === "file") return { files: [{ path, guessed: false }], skipped: new Map() };
  if (kind === "other" || STREAM.test(path)) {
    throw new GpruneError("NOT_FOUND", `${path}: expected a text file or directory, got a pipe or device`, {
      hint: "Samples are read from all parts of a file, which a pipe does not allow; write the text to a file first.",
    });
  }
  const [code, got] =
    kind === "forbidden"
      ? (["FORBIDDEN", "one without read permission"] as const)
      : (["NOT_FOUND", "none"] as const);
  throw new GpruneError(code, `${path}: expected a text file or directory, got ${got}`);
}

/** Amount of text read of a file, its column or field, and the renderer of conversations. */
interface ReadOptions extends Pick<Share, "maxBytes" | "pieces"> {
  readonly column: string | undefined;
  readonly render: ConversationRenderer | undefined;
}

/** A text, or a conversation and its place for messages. */
type Document = string | { readonly conversation: Conversation; readonly where: string };

/** Readers of documents by file extension; any other file is one text. */
const READERS: ReadonlyMap<
  string,
  (file: PositionalFile, options: ReadOptions) => Promise<readonly Document[]>
> = new Map([
  [".jsonl", readLines],
  [".json", readJson],
  [PACKED, readParquet],
]);

/** The text of a file; null when it was selected by its start and the rest is not UTF-8. */
async function readTextFile({ path, guessed }: FoundFile, options: ReadOptions): Promise<string | null> {
  const text = PositionalFile.use(path, async (file) => {
    const documents = await READERS.get(endingOf(path))?.(file, options);
    if (documents !== undefined) return joinDocuments(documents, options);
    const pieces = await readPieces(file, { ...options, separators: [LINE_FEED, SPACE] });
    return pieces.map((piece) => decodeText(piece.bytes, path)).join("\n");
  });
  return text.catch((error: unknown) => {
    if (guessed && hasCode(error, "BAD_TEXT")) return null;
    throw error;
  });
}

/** Joins texts by blank lines; if all documents are conversations, concatenates them without separators. */
async function joinDocuments(documents: readonly Document[], { render }: ReadOptions): Promise<string> {
  const chats = documents.filter((document) => typeof document !== "string");
  if (chats.length === 0) return documents.join("\n\n");
  const where = (index: number): string => chats[index]!.where;
  if (render === undefined) {
    throw new GpruneError("BAD_TEXT", `${where(0)}: expected text, got a conversation`, {
      hint: "A conversation needs a model's chat template to become text, and there is none here.",
    });
  }
  const conversations = chats.map(({ conversation }) => conversation);
  const rendered = await render(conversations, where);
  let next = 0;
  const texts = documents.map((document) => (typeof document === "string" ? document : rendered[next++]!));
  return texts.join(chats.length === documents.length ? "" : "\n\n");
}

/** Documents of a column whose values are texts or lists of messages. */
async function readParquet(
  { path }: PositionalFile,
  { maxBytes, column, render }: ReadOptions,
): Promise<readonly Document[]> {
  const values = await parquetTexts({ path, maxBytes, column, chats: render !== undefined });
  return values.flatMap((value, row): readonly Document[] => {
    if (typeof value === "string") return [value];
    if (isEmptyList(value)) return [];
    const conversation = asConversation(value);
    const where = `${path} sampled item ${row + 1}`;
    if (conversation !== null) return [{ conversation, where }];
    throw new GpruneError("BAD_TEXT", `${where}: expected a list of messages, got another form`, {
      hint: MESSAGE_HINT,
    });
  });
}

async function readLines(file: PositionalFile, options: ReadOptions): Promise<readonly Document[]> {
  const { column } = options;
  const pieces = await readPieces(file, { ...options, separators: [LINE_FEED] });
  return pieces.flatMap((piece) => {
    const place = placeOf(file.path, piece);
    const lines = jsonLines(decodeText(piece.bytes, file.path), (line) => `${place}:${line}`);
    return Array.from(lines, ({ where, value }) => textsOf(value, { where, column })).flat();
  });
}

/** A JSON list of documents, or JSON Lines, which many data sets name `.json`. */
async function readJson(file: PositionalFile, options: ReadOptions): Promise<readonly Document[]> {
  const start = new TextDecoder().decode(await file.read(0, Math.min(file.size, 64))).trimStart();
  if (!start.startsWith("[")) return readLines(file, options);
  const { path: where, size } = file;
  const limits = { maxBytes: MAX_LIST_BYTES, maxDepth: MAX_JSON_DEPTH };
  if (size > limits.maxBytes) {
    throw new GpruneError("BAD_FILE", `${where}: expected at most ${limits.maxBytes} bytes, got ${size}`, {
      hint: "Convert it to JSON Lines, from which samples are read.",
    });
  }
  const documents = parseJson(await file.read(0, size), { ...limits, where }) as readonly unknown[];
  const { maxBytes, column } = options;
  const stride = Math.max(1, Math.ceil(size / maxBytes));
  return documents
    .filter((_, index) => index % stride === 0)
    .flatMap((document, index) =>
      textsOf(document, { where: `${where} item ${index * stride + 1}`, column }),
    );
}

/** Bytes of a file from offset `start`. */
interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** The whole file, or evenly spaced pieces, each trimmed to the first kind of separator that it contains twice. */
async function readPieces(
  file: PositionalFile,
  { maxBytes, pieces, separators }: ReadOptions & { readonly separators: readonly number[] },
): Promise<readonly Piece[]> {
  if (file.size <= maxBytes) return [{ start: 0, bytes: await file.read(0, file.size) }];
  const length = Math.floor(maxBytes / pieces);
  const stride = Math.floor(file.size / pieces);
  const found: Piece[] = [];
  for (let i = 0; i < pieces; i++) {
    const bytes = await file.read(i * stride, length);
    for (const separator of separators) {
      const first = i === 0 ? 0 : bytes.indexOf(separator) + 1;
      const last = bytes.lastIndexOf(separator);
      if (last <= first) continue;
      found.push({ start: i * stride + first, bytes: bytes.subarray(first, last) });
      break;
    }
  }
  return found;
}

/** The place of a piece in messages, before the line number: lines of a later piece count from its start. */
function placeOf(path: string, { start }: Piece): string {
  return start === 0 ? path : `${path} from byte ${start}`;
}

/** Decodes a text file's content. @throws GpruneError BAD_TEXT for invalid UTF-8, BAD_FILE for a Git LFS pointer */
export function decodeText(bytes: Uint8Array, where: string): string {
  refuseLfsPointer(bytes, { where, expected: "the file itself" });
  const hint = "Convert the file to UTF-8, or decompress it.";
  return decodeUtf8(bytes, { where, code: "BAD_TEXT", expected: "UTF-8 text", hint });
}

const MESSAGE_HINT = "Messages are objects with role and content, or from and value.";

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** Hint that names the fields of a document with texts; undefined when there are none. */
function fieldHint(document: unknown): string | undefined {
  if (!isJsonObject(document)) return undefined;
  const texts = Object.keys(document).filter((name) => typeof document[name] === "string");
  if (texts.length === 0) return undefined;
  const named = namesText(texts);
  return `It has text in ${named}; select one after the path, as in PATH#${plainName(texts[0]!)}.`;
}

/**
 * The text or the conversation of a document; none when the field is null, as in Parquet rows, or has no messages.
 * @throws GpruneError BAD_TEXT for a document without the field
 */
function textsOf(
  document: unknown,
  { where, column }: { readonly where: string; readonly column: string | undefined },
): readonly Document[] {
  const names = column === undefined ? [...TEXT_FIELDS, ...CONVERSATION_FIELDS] : [column];
  const fields = isJsonObject(document) ? names.map((name) => document[name]) : [];
  const found = fields.find((field) => typeof field === "string");
  if (typeof found === "string") return [found];
  const conversation = fields.map(asConversation).find((field) => field !== null);
  if (conversation !== undefined) return [{ conversation, where }];
  if (fields.some((field) => field === null || isEmptyList(field))) return [];
  const orMessages =
    column === undefined ? ` or a list of messages (${CONVERSATION_FIELDS.join(" or ")})` : "";
  const texts = column ?? TEXT_FIELDS.join(" or ");
  throw new GpruneError(
    "BAD_TEXT",
    `${where}: expected an object with a text field (${texts})${orMessages}, got none`,
    { hint: fieldHint(document) },
  );
}
