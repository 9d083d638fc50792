/**
 * Text from files: plain text, JSON Lines with a text field, or a directory of such files. A file larger than the
 * limit is sampled in evenly spaced pieces cut at line ends, or at spaces where a text has no lines, so that huge
 * corpora cost no more than small ones.
 */
import { readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import { GpruneError } from "../errors.ts";
import { kindOfPath, PositionalFile } from "./file.ts";
import { isJsonObject } from "./json.ts";
import { jsonLines } from "./json_lines.ts";

/** Fields that hold the text of a JSON line, in order of preference. */
const TEXT_FIELDS = ["text", "content"] as const;
/** Pieces that are read of a file that is too large. */
const PIECES = 32;
const TEXT_EXTENSIONS: ReadonlySet<string> = new Set([".txt", ".md", ".text", ".jsonl"]);
const LINE_FEED = 10;
const SPACE = 32;

/**
 * The text at a path; documents of JSON Lines and files of a directory are joined by an empty line, files in the order
 * of their names.
 * @param maxBytes - bytes read in all
 * @throws GpruneError NOT_FOUND when there is nothing, BAD_TEXT when it is no UTF-8, has no text field or no text
 */
export async function readText(path: string, maxBytes: number): Promise<string> {
  const files = await textFiles(path);
  const parts: string[] = [];
  for (const file of files) parts.push(await readTextFile(file, Math.floor(maxBytes / files.length)));
  const text = parts.filter((part) => part !== "").join("\n\n");
  if (text.trim() !== "") return text;
  throw new GpruneError("BAD_TEXT", `${path}: expected text, got none`, {
    hint: "It is empty, holds only white space, or is one line that is too long to be read whole.",
  });
}

async function textFiles(path: string): Promise<readonly string[]> {
  const kind = await kindOfPath(path);
  if (kind === "file") return [path];
  if (kind !== "directory") {
    throw new GpruneError("NOT_FOUND", `${path}: expected a text file or directory, got none`);
  }
  const names = (await readdir(path)).filter((name) => TEXT_EXTENSIONS.has(extname(name))).sort();
  if (names.length > 0) return names.map((name) => join(path, name));
  const known = [...TEXT_EXTENSIONS].join(", ");
  throw new GpruneError("NOT_FOUND", `${path}: expected files ending in ${known}, got none`);
}

async function readTextFile(path: string, maxBytes: number): Promise<string> {
  const file = await PositionalFile.open(path);
  try {
    const lines = extname(path) === ".jsonl";
    const pieces = await readPieces(file, { maxBytes, separators: lines ? [LINE_FEED] : [LINE_FEED, SPACE] });
    const texts = pieces.map((piece) => decodeUtf8(piece.bytes, path));
    if (!lines) return texts.join("\n");
    return texts.flatMap((text, i) => documentsOf(text, placeOf(path, pieces[i]!))).join("\n\n");
  } finally {
    await file.close();
  }
}

/** A part of a file, from byte `start`. */
interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** The whole file, or evenly spaced pieces between two bytes of the first separator that a piece has twice. */
async function readPieces(
  file: PositionalFile,
  { maxBytes, separators }: { readonly maxBytes: number; readonly separators: readonly number[] },
): Promise<readonly Piece[]> {
  if (file.size <= maxBytes) return [{ start: 0, bytes: await file.read(0, file.size) }];
  const length = Math.floor(maxBytes / PIECES);
  const stride = Math.floor(file.size / PIECES);
  const pieces: Piece[] = [];
  for (let i = 0; i < PIECES; i++) {
    const bytes = await file.read(i * stride, length);
    for (const separator of separators) {
      const first = i === 0 ? 0 : bytes.indexOf(separator) + 1;
      const last = bytes.lastIndexOf(separator);
      if (last <= first) continue;
      pieces.push({ start: i * stride + first, bytes: bytes.subarray(first, last) });
      break;
    }
  }
  return pieces;
}

/** What comes before the number of a line in messages: the lines of a later piece count from its start. */
function placeOf(path: string, { start }: Piece): string {
  return start === 0 ? path : `${path} from byte ${start}`;
}

/** @throws GpruneError BAD_TEXT for other bytes */
export function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new GpruneError("BAD_TEXT", `${path}: expected UTF-8 text, got other bytes`, {
      hint: "Convert the file to UTF-8.",
      cause,
    });
  }
}

function documentsOf(text: string, place: string): readonly string[] {
  return Array.from(
    jsonLines(text, (line) => `${place}:${line}`),
    ({ where, value }) => {
      const fields = isJsonObject(value) ? TEXT_FIELDS.map((field) => value[field]) : [];
      const found = fields.find((field) => typeof field === "string");
      if (typeof found === "string") return found;
      throw new GpruneError(
        "BAD_TEXT",
        `${where}: expected an object with a text field (${TEXT_FIELDS.join(" or ")}), got none`,
      );
    },
  );
}
