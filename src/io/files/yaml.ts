/** YAML from untrusted files: the core schema, no repeated keys, no tags, few aliases, a bounded size. */
import { parseDocument, stringify } from "yaml";
import { plainText } from "../../base/plain_text.ts";
import { type ErrorCode, GpruneError, reasonOf } from "../../errors.ts";

/**
 * Bytes of a document. A configuration of a thousand sets has about 60 KB; the check for repeated keys takes quadratic
 * time.
 */
export const MAX_YAML_BYTES: number = 2 ** 16;
/** Values that aliases may expand to; real files have none. */
const MAX_ALIASED = 100;

/**
 * Parses one YAML (or JSON) document; an empty one is null.
 * @param where - the file's name, for messages
 * @param code - the code of errors
 * @throws GpruneError `code`, with line and column where the parser knows them
 */
export function parseYaml(text: string, where: string, code: ErrorCode): unknown {
  const size = Buffer.byteLength(text);
  if (size > MAX_YAML_BYTES) {
    throw new GpruneError(code, `${where}: expected at most ${MAX_YAML_BYTES} bytes, got ${size}`);
  }
  // The log level keeps the library from printing parts of the file as process warnings.
  const document = parseDocument(text, { schema: "core", uniqueKeys: true, logLevel: "error" });
  // Warnings report unknown tags, whose values would be guessed.
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem?.code === "MULTIPLE_DOCS") {
    const { line, col } = problem.linePos![0];
    throw new GpruneError(
      code,
      `${where}: expected one YAML document, got another at line ${line}, column ${col}`,
    );
  }
  if (problem !== undefined) throw new GpruneError(code, `${where}: ${plainText(problem.message)}`);
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASED });
  } catch (cause) {
    const reason = reasonOf(cause);
    throw new GpruneError(code, `${where}: ${reason}`, { cause });
  }
}

/** A value as YAML. */
export function formatYaml(value: unknown): string {
  return stringify(value);
}
