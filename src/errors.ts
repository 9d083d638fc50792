/**
 * The one error class of the project.
 *
 * A message reads `where: expected X, got Y`; `hint` says what to do next. Codes are stable and may be matched by
 * callers. A message that starts with `internal:` reports a broken invariant of ours, never bad input.
 */

/** Stable machine-readable reasons. All are the caller's to fix, except `INTERNAL` and mostly `NETWORK`. */
export type ErrorCode =
  | "NOT_FOUND"
  | "BAD_FILE"
  | "BAD_CONFIG"
  | "BAD_TENSOR"
  | "BAD_ARGUMENT"
  | "BAD_PLAN"
  | "BAD_CHECKPOINT"
  | "BAD_TEXT"
  | "NOT_FINITE"
  | "OUT_OF_RANGE"
  | "UNSUPPORTED"
  | "OUTPUT_EXISTS"
  | "OUTPUT_FAILED"
  | "LOCKED"
  | "INTERRUPTED"
  | "OUT_OF_MEMORY"
  | "FORBIDDEN"
  | "NETWORK"
  | "QUEUE_FAILED"
  | "STORE_FAILED"
  | "MODEL_DIFFERS"
  | "UNIT_FAILED"
  | "INTERNAL";

/** Optional parts of an error. */
export interface ErrorDetails {
  /** Advice to the user, one sentence. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** Longest message, characters: a file with a million wrong keys must not print a million lines. */
const MAX_MESSAGE = 8000;

/** An error whose message is meant to be read by the user of the tool. */
export class GpruneError extends Error {
  override readonly name = "GpruneError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(truncate(message), "cause" in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.hint = details.hint;
  }

  /** As plain JSON, for another process. */
  get plain(): PlainError {
    const { code, message, hint } = this;
    return { code, message, ...(hint !== undefined && { hint }) };
  }

  /** Rebuilds an error from `plain`. */
  static fromPlain({ code, message, hint }: PlainError): GpruneError {
    return new GpruneError(code, message, { hint });
  }

  /** A copy with another message, hint or both, and this error as its cause. */
  inOtherWords({ message = this.message, hint = this.hint }: Partial<ErrorWords>): GpruneError {
    return new GpruneError(this.code, message, { hint, cause: this });
  }
}

/** An error as plain JSON. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
}

/** Message and hint of an error. */
export interface ErrorWords {
  readonly message: string;
  readonly hint: string;
}

function truncate(message: string): string {
  const excess = message.length - MAX_MESSAGE;
  return excess <= 0 ? message : `${message.slice(0, MAX_MESSAGE)} ... (${excess} more characters)`;
}

/** Whether an error is one of ours with this code. */
export function hasCode(error: unknown, code: ErrorCode): error is GpruneError {
  return error instanceof GpruneError && error.code === code;
}

/** An error with a hint if it has this code and no hint of its own; any other as it is. */
export function withHint(error: unknown, code: ErrorCode, hint: string): unknown {
  const lacks = hasCode(error, code) && error.hint === undefined;
  return lacks ? error.inOtherWords({ hint }) : error;
}

/** The message of whatever was thrown, an Error or not. */
export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** The `code` of an error that has one, such as `ENOENT` of Node's. */
export function codeOf(cause: unknown): string | undefined {
  return cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
}

/** An error that reports a bug of ours; the message gets the prefix `internal:`. */
export function internalError(message: string): GpruneError {
  return new GpruneError("INTERNAL", `internal: ${message}`);
}

/**
 * Refuses a name or path that is empty or no string, such as the value of an unset variable.
 * @param where - the argument, for the message
 * @throws GpruneError BAD_ARGUMENT
 */
export function requireWord(value: unknown, where: string, hint?: string): void {
  if (typeof value === "string" && value !== "") return;
  const got = value === "" ? '""' : String(value);
  throw new GpruneError("BAD_ARGUMENT", `${where}: expected a name or a path, got ${got}`, {
    hint: hint ?? "A variable may be unset.",
  });
}
