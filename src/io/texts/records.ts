/** Records of a data set: the objects of a JSON Lines, JSON or Parquet file, local or on the hub. */
import { GpruneError } from "../../errors.ts";
import { endingOf, readSmallFile } from "../files/file.ts";
import { MAX_JSON_DEPTH, parseJson } from "../files/json.ts";
import type { HubOptions } from "../hub/hub.ts";
import { type JsonLine, jsonLines } from "./json_lines.ts";
import { parquetRows } from "./parquet_process.ts";
import { PACKED } from "./text_directory.ts";
import { decodeText, textPlace } from "./texts.ts";

/** Bytes of a JSON file, which is read whole. */
const MAX_BYTES = 2 ** 28;

/**
 * The first `limit` records and their places; later ones are not checked.
 * @param name - a path, or `hf://datasets/ORG/NAME[@REVISION]/FILE`
 * @throws GpruneError NOT_FOUND without the file, BAD_FILE for one that is too large or neither JSON nor Parquet,
 *   BAD_TEXT for one without records
 */
export async function readRecords(
  name: string,
  limit: number,
  options: HubOptions = {},
): Promise<readonly JsonLine[]> {
  const { path } = await textPlace(name, options);
  const records = endingOf(path) === PACKED ? await rowsOf(path, limit) : await jsonOf(path, limit);
  if (records.length > 0) return records;
  throw new GpruneError("BAD_TEXT", `${path}: expected at least one record, got an empty file`);
}

async function rowsOf(path: string, limit: number): Promise<readonly JsonLine[]> {
  const rows = await parquetRows(path, limit);
  return rows.map((value, index) => ({ where: `${path} row ${index + 1}`, value }));
}

/** Records of a JSON list or of JSON Lines, told apart by content, not by file name. */
async function jsonOf(path: string, limit: number): Promise<readonly JsonLine[]> {
  const text = decodeText(await readSmallFile(path, MAX_BYTES), path);
  if (text.trimStart().startsWith("[")) {
    const list = parseJson(text, { where: path, maxBytes: MAX_BYTES, maxDepth: MAX_JSON_DEPTH });
    const items = (list as readonly unknown[]).slice(0, limit);
    return items.map((value, index) => ({ where: `${path} item ${index + 1}`, value }));
  }
  const records: JsonLine[] = [];
  for (const line of jsonLines(text, (number) => `${path} line ${number}`)) {
    records.push(line);
    if (records.length >= limit) break;
  }
  return records;
}
