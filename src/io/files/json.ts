/**
 * JSON from untrusted files. A linear scan checks size, depth and number of items before `JSON.parse` allocates
 * anything, and refuses two things that `JSON.parse` accepts: repeated keys, of which it silently keeps the last, and
 * the key `__proto__`, which pollutes prototypes when objects are merged.
 *
 * The scan is not a second parser: whether a text is JSON at all is decided by `JSON.parse`.
 */
import { plainName } from "../../base/plain_text.ts";
import { GpruneError, reasonOf } from "../../errors.ts";
import { PositionalFile } from "./file.ts";
import { refuseLfsPointerFile } from "./lfs_pointer.ts";
import { decodeUtf8 } from "./utf8.ts";

/** Limits of a JSON document. */
export interface JsonLimits {
  /** Bytes of UTF-8. */
  readonly maxBytes: number;
  /** Nesting depth of objects and arrays; 1 for a flat document. */
  readonly maxDepth: number;
  /** Commas and brackets; ten million when absent. */
  readonly maxItems?: number;
  /**
   * Whether keys may be repeated or named `__proto__`, as tokens of a vocabulary may; the result must not be merged
   * into objects.
   */
  readonly anyKeys?: boolean;
}

/** Deeper than any checkpoint file in use; the cap of huggingface.js for weight indices. */
export const MAX_JSON_DEPTH = 64;

/**
 * Limits of config.json and similar small files: real ones have a few KiB, those with quantisation tables a few
 * hundred. The cap of huggingface.js.
 */
export const CONFIG_JSON_LIMITS: JsonLimits = { maxBytes: 10_000_000, maxDepth: MAX_JSON_DEPTH };

/**
 * Commas and brackets of one document by default. A parsed item takes up to about 100 bytes, so this bounds memory near
 * 1 GB; the largest real documents, tokenizers with 500 thousand merges, have about 2 million.
 */
const MAX_ITEMS = 10_000_000;

/**
 * Limits of files that gprune writes, plans and stages: a list of all units in 126 layers of 53 thousand neurons has 7
 * million numbers and about 50 MB, and a stage may hold several.
 */
export const OWN_JSON_LIMITS: JsonLimits = { maxBytes: 2 ** 28, maxDepth: MAX_JSON_DEPTH, maxItems: 4e7 };

/** Hint for a text in tags. */
const WEB_PAGE_HINT = "It looks like a web page, perhaps a server's error message; download the file again.";

const QUOTE = '"'.charCodeAt(0);
const BACKSLASH = "\\".charCodeAt(0);
const COMMA = ",".charCodeAt(0);
const OPEN_OBJECT = "{".charCodeAt(0);
const OPEN_ARRAY = "[".charCodeAt(0);
const CLOSE_OBJECT = "}".charCodeAt(0);
const CLOSE_ARRAY = "]".charCodeAt(0);

/**
 * Parses one JSON document.
 * @param input - text, or UTF-8 bytes
 * @param options - the limits, and `where`: the file's name for messages
 * @throws GpruneError BAD_FILE for invalid UTF-8 or JSON, a limit exceeded, a repeated key or a key `__proto__`
 */
export function parseJson(
  input: string | Uint8Array,
  options: JsonLimits & { readonly where: string },
): unknown {
  const { where, maxBytes } = options;
  const size = typeof input === "string" ? Buffer.byteLength(input) : input.length;
  if (size > maxBytes) throw tooLarge(where, size, maxBytes);
  const text =
    typeof input === "string"
      ? input
      : decodeUtf8(input, { where, code: "BAD_FILE", expected: "JSON in UTF-8" });
  const problem = scan(text, options);
  if (problem !== null) throw new GpruneError("BAD_FILE", `${where}: ${problem}`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const got = text.trim() === "" ? "nothing" : reasonOf(cause);
    const hint = text.trimStart().startsWith("<") ? WEB_PAGE_HINT : undefined;
    throw new GpruneError("BAD_FILE", `${where}: expected JSON, got ${got}`, { hint, cause });
  }
}

/**
 * Reads and parses a JSON file; its size is checked before it is read.
 * @throws GpruneError NOT_FOUND when there is no such file, else as `parseJson`
 */
export async function readJsonFile(path: string, limits: JsonLimits): Promise<unknown> {
  return PositionalFile.use(path, async (file) => {
    await refuseLfsPointerFile(file, "JSON");
    if (file.size > limits.maxBytes) throw tooLarge(path, file.size, limits.maxBytes);
    return parseJson(await file.read(0, file.size), { ...limits, where: path });
  });
}

/** An object of a JSON text. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a parsed value is an object, neither null nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tooLarge(where: string, size: number, maxBytes: number): GpruneError {
  return new GpruneError("BAD_FILE", `${where}: expected at most ${maxBytes} bytes of JSON, got ${size}`);
}

/**
 * Checks limits and keys in one pass over the text.
 * @returns the problem, as the end of an error message, or null
 */
function scan(text: string, { maxDepth, maxItems = MAX_ITEMS, anyKeys = false }: JsonLimits): string | null {
  /** Keys seen in each open object; null for an open array. */
  const open: (Set<string> | null)[] = [];
  let expectsKey = false;
  let items = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = endOfString(text, i);
      if (end === -1) return null;
      const problem = expectsKey && !anyKeys ? addKey(open.at(-1), text.slice(i, end + 1)) : null;
      if (problem !== null) return problem;
      expectsKey = false;
      i = end;
    } else if (code === COMMA) {
      items++;
      expectsKey = (open.at(-1) ?? null) !== null;
    } else if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      items++;
      expectsKey = code === OPEN_OBJECT;
      open.push(expectsKey ? new Set() : null);
      if (open.length > maxDepth) return `expected JSON at most ${maxDepth} levels deep, got more`;
    } else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) {
      open.pop();
      expectsKey = false;
    }
    if (items > maxItems) return `expected JSON of at most ${maxItems} items, got more`;
  }
  return null;
}

/** Index of the closing quote of the string that opens at `start`; -1 when there is none. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return -1;
}

/**
 * Adds a key to those of its object.
 * @param literal - the key as written in the text, quotes included; escapes are resolved before it is compared
 * @returns the problem with the key, as the end of an error message, or null
 */
function addKey(keys: Set<string> | null | undefined, literal: string): string | null {
  const key = literal.includes("\\") ? unescapeString(literal) : literal.slice(1, -1);
  if (key === undefined) return null;
  if (key === "__proto__") return 'expected plain keys, got "__proto__"';
  if (keys?.has(key)) return `expected every key once, got ${plainName(literal)} again`;
  keys?.add(key);
  return null;
}

/** The value of a string literal; undefined when it is malformed. */
function unescapeString(literal: string): string | undefined {
  try {
    const value: unknown = JSON.parse(literal);
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
