/** Bytes as text, or an error that says what was expected of them. */
import { type ErrorCode, GpruneError } from "../../errors.ts";

/** What is said of other bytes. */
export interface Utf8Expectation {
  /** The file's name, for messages. */
  readonly where: string;
  readonly code: ErrorCode;
  /** What the bytes should have been. */
  readonly expected: string;
  readonly hint?: string;
}

/** @throws GpruneError `code` for bytes that are no UTF-8 */
export function decodeUtf8(bytes: Uint8Array, { where, code, expected, hint }: Utf8Expectation): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new GpruneError(code, `${where}: expected ${expected}, got other bytes`, { hint, cause });
  }
}
