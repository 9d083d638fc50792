/** YAML from untrusted files: the core schema, no repeated keys, no tags, few aliases, a bounded size. */
import { parseDocument, stringify } from "yaml";
import { plainText } from "../../base/plain_text.ts";
import { type ErrorCode, GpruneError, reasonOf } from "../../errors.ts";

/**
 * Bytes of a document. A configuration of a thousand sets has about 60 KB; checking keys takes time with their square.
 */
export const MAX_YAML_BYTES: number = 2 ** 16;
/** Values that aliases may stand for; a real file has none. */
const MAX_ALIASED = 100;

/**
 * Parses one YAML (or JSON) document; an empty one is null.
 * @param where - the file's name, for messages
 * @param code - of the error
 * @throws GpruneError `code`, with line and column where the parser knows them
 */
export function parseYaml(text: string, where: string, code: ErrorCode): unknown {
  const size = Buffer.byteLength(text);
  if (size > MAX_YAML_BYTES) {
    throw new GpruneError(code, `${where}: expected at most ${MAX_YAML_BYTES} bytes, got ${size}`);
  }
  // The log level keeps the library from printing parts of the file as warnings of the process.
  const document = parseDocument(text, { schema: "core", uniqueKeys: true, logLevel: "error" });
  // A warning says that a tag is not known and its value would be guessed.
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) throw new GpruneError(code, `${where}: ${plainText(problem.message)}`);
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASED });
  } catch (cause) {
    const reason = reasonOf(cause);
    throw new GpruneError(code, `${where}: ${reason}`, { cause });
  }
}

export function formatYaml(value: unknown): string {
  return stringify(value);
}
