/**
 * Which files of a directory are read as texts: all that end as texts and collections of them do, and all others that
 * begin as text does; in subdirectories, too, in the order of their paths. What is hidden, `node_modules`, and links to
 * directories are left out, so that no link makes a directory endless; links to files are followed.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { OnProgress } from "../../base/progress.ts";
import { GpruneError } from "../../errors.ts";
import { endingOf, kindOfPath, PositionalFile } from "../files/file.ts";
import { isJsonObject, MAX_JSON_DEPTH, parseJson } from "../files/json.ts";
import { errnoOf } from "../files/output_file.ts";
import { asConversation, CONVERSATION_FIELDS } from "./conversations.ts";

/** Fields that hold the text of a JSON document, in order of preference. */
export const TEXT_FIELDS = ["text", "content"] as const;
/** Ending of files whose size does not say how much text they hold. */
export const PACKED = ".parquet";
/** Endings of files that hold documents. */
const DOCUMENT_EXTENSIONS: readonly string[] = [".jsonl", ".json", PACKED];
/** Endings of files that are one text each, whatever they begin with. */
const PLAIN_EXTENSIONS: readonly string[] = [".txt", ".md", ".text"];
/** Other people's programs, thousands of files of them. */
const PACKAGES = "node_modules";
/** Bytes at the start of a file that say whether it is text. */
const START_BYTES = 2 ** 13;
/** Bytes at the start of a JSON file in which its first document shows what it is. */
const JSON_START_BYTES = 2 ** 16;
/** Files and directories that are looked at. */
const MAX_ENTRIES = 2 ** 20;
/** Files that are looked into at one time. */
const LOT = 64;
/** Files that take so long to look into that it is told. */
const MANY = 2 ** 10;

/** Why something in a directory is not read, as it is said. */
export type SkipReason =
  | "hidden"
  | typeof PACKAGES
  | "not text"
  | "empty"
  | "JSON without text"
  | "linked directories"
  | "unreadable";

/** A file of a directory. */
export interface FoundFile {
  readonly path: string;
  /** Taken for text by its start, so that what follows may say that it is none. */
  readonly guessed: boolean;
}

/** What is read of a directory. */
export interface FoundFiles {
  readonly files: readonly FoundFile[];
  /** Files and directories that are not read; what is in a skipped directory does not count. */
  readonly skipped: ReadonlyMap<SkipReason, number>;
}

/** What of a directory is asked for. */
interface Wanted {
  /** Told of every lot of files that were looked into; what it throws ends the work. */
  readonly onProgress: OnProgress;
  /** The column or field that was asked for, which at least one file must have. */
  readonly column: string | undefined;
  /** Whether conversations are texts, too. */
  readonly chats: boolean;
}

/**
 * @throws GpruneError NOT_FOUND when nothing is to be read, BAD_FILE when there is too much
 */
export async function textFilesIn(
  directory: string,
  { column, chats, onProgress }: Wanted,
): Promise<FoundFiles> {
  const { paths, skipped } = await entriesBelow(directory);
  const files: FoundFile[] = [];
  const stage = `look into ${directory}`;
  for (let start = 0; start < paths.length; start += LOT) {
    const lot = paths.slice(start, start + LOT);
    const reasons = await Promise.all(lot.map((path) => reasonToSkip(path, { column, chats })));
    if (paths.length > MANY)
      onProgress({ stage, done: start + lot.length, total: paths.length, unit: "files" });
    for (const [index, path] of lot.entries()) {
      const reason = reasons[index] ?? null;
      if (reason === null) files.push({ path, guessed: !isKnown(path) });
      else countOne(skipped, reason);
    }
  }
  const hasColumns = files.some(({ path }) => DOCUMENT_EXTENSIONS.includes(endingOf(path)));
  if (files.length > 0 && (column === undefined || hasColumns)) return { files, skipped };
  const needed =
    column === undefined ? "files that are text" : `files ending in ${DOCUMENT_EXTENSIONS.join(", ")}`;
  const but = skipped.size === 0 ? "" : ` (skipped ${skippedText(skipped)})`;
  throw new GpruneError("NOT_FOUND", `${directory}: expected ${needed}, got none${but}`, {
    hint: "Hidden files, node_modules and what is not UTF-8 are left out; docs/HUB.md says what is read.",
  });
}

/** `3 hidden, 40 not text` */
export function skippedText(skipped: ReadonlyMap<SkipReason, number>): string {
  return Array.from(skipped, ([reason, count]) => `${count} ${reason}`).join(", ");
}

function countOne(skipped: Map<SkipReason, number>, reason: SkipReason): void {
  skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
}

/** All that may be files, in the order of their paths from the directory, whose parts `/` joins everywhere. */
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
        if (parent === "") throw unreadable(directory, cause);
        countOne(skipped, "unreadable");
        return [];
      },
    );
    count += entries.length;
    if (count > MAX_ENTRIES) throw tooMany(directory);
    for (const entry of entries) {
      const { name } = entry;
      const path = parent === "" ? name : `${parent}/${name}`;
      // Among hidden files are those that macOS leaves beside others on foreign disks and in archives, `._NAME`.
      if (name.startsWith(".")) countOne(skipped, "hidden");
      else if (!entry.isDirectory()) found.push(path);
      else if (name === PACKAGES) countOne(skipped, PACKAGES);
      else waiting.push(path);
    }
  }
  return { paths: found.sort().map((path) => join(directory, path)), skipped };
}

function unreadable(directory: string, cause: unknown): GpruneError {
  const reason = errnoOf(cause) ?? String(cause);
  const hint = "Check its permissions.";
  return new GpruneError("NOT_FOUND", `${directory}: expected a readable directory, got ${reason}`, {
    hint,
    cause,
  });
}

function tooMany(directory: string): GpruneError {
  const expected = `at most ${MAX_ENTRIES} files and directories below it`;
  return new GpruneError("BAD_FILE", `${directory}: expected ${expected}, got more`, {
    hint: "Name a directory in it, or write the texts to one JSON Lines file, of which samples are read.",
  });
}

function isKnown(path: string): boolean {
  const ending = endingOf(path);
  return PLAIN_EXTENSIONS.includes(ending) || DOCUMENT_EXTENSIONS.includes(ending);
}

/** Null for a file that is to be read. What is wrong with one that ends as texts do is for its reader to say. */
async function reasonToSkip(
  path: string,
  { column, chats }: Omit<Wanted, "onProgress">,
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
  return textAtStart(start)?.includes("\0") === false ? null : "not text";
}

/**
 * Of settings and the like, as they lie among source files: JSON whose first document has no text. One whose start does
 * not show that is for its reader.
 */
async function reasonToSkipJson(path: string, chats: boolean): Promise<SkipReason | null> {
  const start = await startOf(path, JSON_START_BYTES);
  const text = start === null ? null : textAtStart(start)?.trimStart();
  if (start === null || !text) return null;
  const isWhole = start.length < JSON_START_BYTES;
  const noText = "JSON without text";
  if (text.startsWith("[")) {
    if (!isWhole) return /^\[\s*(?:\{|$)/.test(text) ? null : noText;
    const list = parsed(text);
    return Array.isArray(list) && list.length > 0 && !hasText(list[0], chats) ? noText : null;
  }
  const end = text.indexOf("\n");
  if (end === -1 && !isWhole) return null;
  return hasText(parsed(end === -1 ? text : text.slice(0, end)), chats) ? null : noText;
}

function hasText(document: unknown, chats: boolean): boolean {
  if (!isJsonObject(document)) return false;
  return (
    TEXT_FIELDS.some((field) => document[field] !== undefined) ||
    (chats && CONVERSATION_FIELDS.some((field) => asConversation(document[field]) !== null))
  );
}

/** JSON of a start; undefined for what is none. */
function parsed(text: string): unknown {
  try {
    return parseJson(text, { where: "start", maxBytes: JSON_START_BYTES, maxDepth: MAX_JSON_DEPTH });
  } catch {
    return undefined;
  }
}

/** UTF-8 that may be cut within a character; null for other bytes. */
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
