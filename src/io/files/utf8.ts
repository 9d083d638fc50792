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

const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;

/** Decodes UTF-8, without a byte order mark at the start. @throws GpruneError `code` for invalid bytes */
export function decodeUtf8(bytes: Uint8Array, { where, code, expected, hint }: Utf8Expectation): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const got = isUtf16(bytes) ? "UTF-16" : "invalid bytes";
    throw new GpruneError(code, `${where}: expected ${expected}, got ${got}`, { hint, cause });
  }
}

/** Whether UTF-8 begins with a byte order mark, as some editors write it. */
export function hasByteOrderMark(bytes: Uint8Array): boolean {
  return BYTE_ORDER_MARK.every((byte, index) => bytes[index] === byte);
}

/** The same bytes without a byte order mark at the start. */
export function withoutByteOrderMark(bytes: Uint8Array): Uint8Array {
  return hasByteOrderMark(bytes) ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes;
}

/** Whether bytes begin with the byte order mark of UTF-16. */
function isUtf16([first, second]: Uint8Array): boolean {
  return (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
}
