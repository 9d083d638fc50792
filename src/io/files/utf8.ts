/** Strict decoding of UTF-8, with an error that says what was expected. */
import { type ErrorCode, GpruneError } from "../../errors.ts";

/** The error for invalid bytes. */
export interface Utf8Expectation {
  /** The file's name, for messages. */
  readonly where: string;
  readonly code: ErrorCode;
  /** The expected content, for the message. */
  readonly expected: string;
  readonly hint?: string;
}

/** Decodes UTF-8. @throws GpruneError `code` for invalid bytes */
export function decodeUtf8(bytes: Uint8Array, { where, code, expected, hint }: Utf8Expectation): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new GpruneError(code, `${where}: expected ${expected}, got invalid bytes`, { hint, cause });
  }
}
