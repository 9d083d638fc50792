/** YAML from files that nobody vouches for: the core schema, no repeated keys, no tags, few aliases, a bounded size. */
import { parseDocument, stringify } from "yaml";
import { type ErrorCode, GpruneError } from "../errors.ts";

/** Characters of a document. */
const MAX_LENGTH = 2 ** 20;
/** Aliases multiply what they stand for. */
const MAX_ALIASES = 100;

/**
 * Parses one YAML (or JSON) document; an empty one is null.
 * @param where - the file's name, for messages
 * @param code - of the error
 * @throws GpruneError `code`, with line and column where the parser knows them
 */
export function parseYaml(text: string, where: string, code: ErrorCode): unknown {
  if (text.length > MAX_LENGTH) {
    throw new GpruneError(code, `${where}: expected at most ${MAX_LENGTH} characters, got ${text.length}`);
  }
  const document = parseDocument(text, { schema: "core", uniqueKeys: true });
  // A warning says that a tag is not known and its value would be guessed.
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) throw new GpruneError(code, `${where}: ${problem.message}`);
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new GpruneError(code, `${where}: ${reason}`, { cause });
  }
}

export function formatYaml(value: unknown): string {
  return stringify(value);
}
