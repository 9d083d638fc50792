/**
 * How models and texts on the hub are named: `hf://ORG/NAME[@REVISION][/FILE]` and
 * `hf://datasets/ORG/NAME[@REVISION]/FILE[#COLUMN]`, as huggingface_hub writes them. The column stands behind a `#`
 * because `:` already separates the weight of a text set. Nothing here touches the network or the disk.
 */
import { GpruneError } from "../../errors.ts";

/** A repository of the hub. */
export interface HubRepo {
  readonly kind: "model" | "dataset";
  /** `ORG/NAME` */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

/** A parsed hub name: a repository, or one of its files. */
export interface HubAddress extends HubRepo {
  /** A file of the repository; undefined when the repository itself is meant. */
  readonly file: string | undefined;
  /** The column or field that holds the text; undefined when none was named. */
  readonly column: string | undefined;
}

const SCHEME = "hf://";
const DEFAULT_REVISION = "main";
/** Characters of one path component; the hub allows 96, file systems 255 bytes. */
const MAX_PART = 200;
const MAX_FILE = 1024;

const PART = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?$/;
const REVISION = /^[A-Za-z0-9][A-Za-z0-9._/-]*$/;
/** Revisions whose slashes need not be escaped, as in huggingface_hub; in others a slash is %2F. */
const SLASHED_REVISION = /^refs\/(?:convert|pr)\/[^/]+$/;
const ADDRESS =
  /^(?<id>[^/@]+\/[^/@#]+)(?:@(?<revision>refs\/(?:convert|pr)\/[^/#]+|[^/#]+))?(?:\/(?<file>.+?))?(?:#(?<column>[^#]+))?$/;

/** Whether a name starts with `hf://`. */
export function isHubAddress(name: string): boolean {
  return name.startsWith(SCHEME);
}

/**
 * Reads `hf://…`, or, for models, `ORG/NAME[@REVISION]` without the scheme.
 * @returns null for a name without the scheme that is no `ORG/NAME`: `/tmp/model`, `model`, `../../model`,
 * `dir/model.gguf`
 * @throws GpruneError BAD_ARGUMENT for a malformed `hf://` name
 */
export function parseHubAddress(name: string): HubAddress | null {
  if (isHubAddress(name)) return parseAddress(name);
  if (name.endsWith(".gguf") || name.split("/").length !== 2) return null;
  try {
    return parseAddress(SCHEME + name);
  } catch {
    return null;
  }
}

function parseAddress(name: string): HubAddress {
  const path = name.slice(SCHEME.length);
  const dataset = path.startsWith("datasets/");
  const groups = ADDRESS.exec(dataset ? path.slice("datasets/".length) : path)?.groups;
  const { id, revision = DEFAULT_REVISION, file, column } = groups ?? {};
  const decoded = percentDecode(revision);
  const wellFormed =
    id?.split("/").every(isRepoPart) &&
    isRevision(decoded) &&
    (file === undefined ? !dataset : isSafeFile(file)) &&
    (column === undefined || dataset);
  if (wellFormed) return { kind: dataset ? "dataset" : "model", id: id!, revision: decoded, file, column };
  const expected = dataset
    ? "hf://datasets/ORG/NAME[@REVISION]/FILE[#COLUMN]"
    : "hf://ORG/NAME[@REVISION] or hf://ORG/NAME[@REVISION]/FILE.gguf";
  throw new GpruneError("BAD_ARGUMENT", `${name}: expected ${expected}, got another form`, {
    hint: dataset
      ? "Give one .parquet, .jsonl, .json or text file of the dataset."
      : "Write a slash in REVISION as %2F.",
  });
}

function isRepoPart(part: string): boolean {
  return part.length <= MAX_PART && PART.test(part) && !part.includes("..") && !part.includes("--");
}

/** A revision becomes a file name below `refs` in the cache, so it must be safe as a path. */
function isRevision(revision: string): boolean {
  return REVISION.test(revision) && isSafeFile(revision);
}

function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/**
 * Whether a relative path stays below the directory it is joined to, on every operating system: no `.` and `..`, no
 * empty parts, backslashes, drives, or control characters.
 */
export function isSafeFile(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are refused
  if (path.length > MAX_FILE || /[\\:\u0000-\u001f\u007f]/.test(path)) return false;
  return path
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== ".." && part.length <= MAX_PART);
}

/** `hf://ORG/NAME@REVISION`, which can be parsed again; the revision is left out when it is the default. */
export function hubName({ kind, id, revision }: HubRepo): string {
  const escaped = SLASHED_REVISION.test(revision) ? revision : encodeURIComponent(revision);
  const at = revision === DEFAULT_REVISION ? "" : `@${escaped}`;
  return `${SCHEME}${kind === "dataset" ? "datasets/" : ""}${id}${at}`;
}
