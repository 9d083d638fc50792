/**
 * Selection of the text files in a directory tree: files with a known extension, and others that start like text,
 * sorted by path. Hidden entries and `node_modules` are skipped. Links to files are followed, links to directories are
 * not, since they could form cycles.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { OnProgress } from "../../base/progress.ts";
import { GpruneError } from "../../errors.ts";
import { endingOf, kindOfPath, PositionalFile, unreadable } from "../files/file.ts";
import { isJsonObject, MAX_JSON_DEPTH, parseJson } from "../files/json.ts";
import { isLfsPointer } from "../files/lfs_pointer.ts";
import { asConversation, CONVERSATION_FIELDS } from "./conversations.ts";

/** Default fields and columns with the text of a document, in order of preference. */
export const TEXT_FIELDS = ["text", "content"] as const;
/** Extension of compressed files, whose size does not bound the text inside. */
export const PACKED = ".parquet";
/** Extensions of files with many documents. */
const DOCUMENT_EXTENSIONS: readonly string[] = [".jsonl", ".json", PACKED];
/** Extensions of files that are one text each; their content is not sniffed. */
const PLAIN_EXTENSIONS: readonly string[] = [".txt", ".md", ".text"];
/** Directory of third-party packages, with thousands of files. */
const PACKAGES = "node_modules";
/** Bytes at the start of a file by which text is recognised. */
const START_BYTES = 2 ** 13;
/** Bytes at the start of a JSON file that are searched for its first document. */
const JSON_START_BYTES = 2 ** 16;
/** Files and directories in a tree. */
const MAX_ENTRIES = 2 ** 20;
/** Files examined concurrently. */
const BATCH = 64;
/** Number of files beyond which progress is reported. */
const MANY = 2 ** 10;

/** Reasons for skipping an entry, in the words of messages. */
export type SkipReason =
  | "hidden"
  | typeof PACKAGES
  | "not text"
  | "empty"
  | "JSON without text"
  | "linked directories"
  | "unreadable";

/** A selected file. */
export interface FoundFile {
  readonly path: string;
  /** Whether it was selected by its start alone, so that the rest may turn out not to be text. */
  readonly guessed: boolean;
}

/** Files to be read, and the number of skipped entries by reason. */
export interface FoundFiles {
  readonly files: readonly FoundFile[];
  /** The content of a skipped directory is not counted. */
  readonly skipped: ReadonlyMap<SkipReason, number>;
}

/** Options of {@link textFilesIn}. */
interface SelectionOptions {
  /** Called after every batch of examined files; an error that it throws ends the search. */
  readonly onProgress: OnProgress;
  /** The requested column or field; then at least one file must be of a kind that has fields. */
  readonly column: string | undefined;
  /** Whether conversations count as texts. */
  readonly chats: boolean;
}

/**
 * Selects the text files of a directory tree.
 * @throws GpruneError NOT_FOUND when there are none, FORBIDDEN when it may not be read, BAD_FILE when the tree has too
 *   many entries
 */
export async function textFilesIn(
  directory: string,
  { column, chats, onProgress }: SelectionOptions,
): Promise<FoundFiles> {
  const { paths, skipped } = await entriesBelow(directory);
  const files: FoundFile[] = [];
  const stage = `scan ${directory}`;
  for (let start = 0; start < paths.length; start += BATCH) {
    const batch = paths.slice(start, start + BATCH);
    const reasons = await Promise.all(batch.map((path) => reasonToSkip(path, { column, chats })));
    if (paths.length > MANY)
      onProgress({ stage, done: start + batch.length, total: paths.length, unit: "files" });
    for (const [index, path] of batch.entries()) {
      const reason = reasons[index] ?? null;
      if (reason === null) files.push({ path, guessed: !isKnown(path) });
      else countOne(skipped, reason);
    }
  }
  const hasColumns = files.some(({ path }) => DOCUMENT_EXTENSIONS.includes(endingOf(path)));
  if (files.length > 0 && (column === undefined || hasColumns)) return { files, skipped };
  const needed = column === undefined ? "text files" : `files ending in ${DOCUMENT_EXTENSIONS.join(", ")}`;
  const but = skipped.size === 0 ? "" : ` (skipped ${skippedText(skipped)})`;
  throw new GpruneError("NOT_FOUND", `${directory}: expected ${needed}, got none${but}`, {
    hint: "Hidden files, node_modules and files that are not UTF-8 are skipped; docs/HUB.md lists what is read.",
  });
}

/** `3 hidden, 40 not text` */
export function skippedText(skipped: ReadonlyMap<SkipReason, number>): string {
  return Array.from(skipped, ([reason, count]) => `${count} ${reason}`).join(", ");
}

function countOne(skipped: Map<SkipReason, number>, reason: SkipReason): void {
  skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
}

/** Everything but directories in a tree, sorted by path relative to it, with `/` on every platform. */
async function entriesBelow(directory: string): Promise<{
  readonly paths: readonly string[];
  readonly skipped: Map<SkipReason, number>;
}> {
  const skipped = new Map<SkipReason, number>();
  const found: string[] = [];
  const waiting = [""];
  let count = 0;
  for (let parent = waiting.pop(); parent !== undefined; parent = waiting.pop()) {
    const entries = await readdir(join(directory, parent), { withFileTypes: true }).catch(
      (cause: unknown) => {
        if (parent === "") throw unreadable(directory, "a readable directory", cause);
        countOne(skipped, "unreadable");
        return [];
      },
    );
    count += entries.length;
    if (count > MAX_ENTRIES) throw tooMany(directory);
    for (const entry of entries) {
      const { name } = entry;
      const path = parent === "" ? name : `${parent}/${name}`;
      // This includes the `._NAME` files that macOS leaves on other file systems and in archives.
      if (name.startsWith(".")) countOne(skipped, "hidden");
      else if (!entry.isDirectory()) found.push(path);
      else if (name === PACKAGES) countOne(skipped, PACKAGES);
      else waiting.push(path);
    }
  }
  return { paths: found.sort().map((path) => join(directory, path)), skipped };
}

function tooMany(directory: string): GpruneError {
  const expected = `at most ${MAX_ENTRIES} files and directories in it`;
  return new GpruneError("BAD_FILE", `${directory}: expected ${expected}, got more`, {
    hint: "Give one of its subdirectories, or write the texts to a JSON Lines file, from which samples are read.",
  });
}

function isKnown(path: string): boolean {
  const ending = endingOf(path);
  return PLAIN_EXTENSIONS.includes(ending) || DOCUMENT_EXTENSIONS.includes(ending);
}

/** Null for a file to be read. A malformed file with a known extension is not skipped: its reader reports the error. */
async function reasonToSkip(
  path: string,
  { column, chats }: Omit<SelectionOptions, "onProgress">,
): Promise<SkipReason | null> {
  const kind = await kindOfPath(path).catch(() => null);
  if (kind === "directory") return "linked directories";
  if (column === undefined && kind === "file" && endingOf(path) === ".json")
    return reasonToSkipJson(path, chats);
  if (isKnown(path)) return null;
  if (kind !== "file") return "unreadable";
  const start = await startOf(path, START_BYTES);
  if (start === null) return "unreadable";
  if (start.length === 0) return "empty";
  if (isLfsPointer(start)) return "not text";
  return textAtStart(start)?.includes("\0") === false ? null : "not text";
}

/**
 * Skips JSON whose first document has no text, such as settings among source files. A file whose start does not show
 * that is left to its reader.
 */
async function reasonToSkipJson(path: string, chats: boolean): Promise<SkipReason | null> {
  const start = await startOf(path, JSON_START_BYTES);
  const text = start === null ? null : textAtStart(start)?.trimStart();
  if (start === null || !text || isLfsPointer(start)) return null;
  const isWhole = start.length < JSON_START_BYTES;
  const noText = "JSON without text";
  if (text.startsWith("[")) {
    if (!isWhole) return /^\[\s*(?:\{|$)/.test(text) ? null : noText;
    const list = parseStart(text);
    return Array.isArray(list) && list.length > 0 && !hasText(list[0], chats) ? noText : null;
  }
  const end = text.indexOf("\n");
  if (end === -1 && !isWhole) return null;
  return hasText(parseStart(end === -1 ? text : text.slice(0, end)), chats) ? null : noText;
}

function hasText(document: unknown, chats: boolean): boolean {
  if (!isJsonObject(document)) return false;
  return (
    TEXT_FIELDS.some((field) => document[field] !== undefined) ||
    (chats && CONVERSATION_FIELDS.some((field) => asConversation(document[field]) !== null))
  );
}

/** Parses JSON from the start of a file; undefined when it is malformed. */
function parseStart(text: string): unknown {
  try {
    return parseJson(text, { where: "start", maxBytes: JSON_START_BYTES, maxDepth: MAX_JSON_DEPTH });
  } catch {
    return undefined;
  }
}

/** Decodes UTF-8 that may end inside a character; null for invalid bytes. */
function textAtStart(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return null;
  }
}

/** The first bytes of a file, at most `length`; null when it cannot be read. */
async function startOf(path: string, length: number): Promise<Uint8Array | null> {
  return PositionalFile.use(path, (file) => file.read(0, Math.min(file.size, length))).catch(() => null);
}
