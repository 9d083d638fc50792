/** JSON Lines: one JSON document per line, under the limits of json.ts; blank lines are skipped. */
import { MAX_JSON_DEPTH, parseJson } from "../files/json.ts";

/** The value of a line, and its place for messages. */
export interface JsonLine {
  readonly where: string;
  readonly value: unknown;
}

/** Bytes of one line. */
const MAX_LINE_BYTES = 2 ** 26;

/**
 * Parses lines lazily, as the caller iterates.
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
