/** JSON Lines: one JSON document a line, under the limits of json.ts; empty lines are skipped. */
import { MAX_JSON_DEPTH, parseJson } from "../files/json.ts";

/** A line's value and its place for messages. */
export interface JsonLine {
  readonly where: string;
  readonly value: unknown;
}

/** One document. */
const MAX_LINE_BYTES = 2 ** 26;

/**
 * Parses line after line as the caller asks for them.
 * @param whereOf - the place of a line by its number, from 1
 * @throws GpruneError BAD_FILE as `parseJson`
 */
export function* jsonLines(text: string, whereOf: (line: number) => string): Generator<JsonLine> {
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const where = whereOf(index + 1);
    yield { where, value: parseJson(line, { where, maxBytes: MAX_LINE_BYTES, maxDepth: MAX_JSON_DEPTH }) };
  }
}
