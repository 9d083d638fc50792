/**
 * Texts or rows of a Parquet file, read in a child process. The format lets a few bytes stand for billions of values;
 * the memory that they take would end this process, even from a thread, but a child process fails alone.
 */
import { type ExecFileException, execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { GpruneError, type PlainError } from "../../errors.ts";
import { isOutOfMemory, ownProgram } from "../files/own_program.ts";
import type { ColumnRequest } from "./parquet.ts";

/** Request to the child process. */
export type ParquetRequest = { readonly path: string } & (ColumnRequest | { readonly rows: number });

/** Response of the child process. */
export type ParquetAnswer = { readonly values: readonly unknown[] } | { readonly error: PlainError };

/** Limits of the child process: time, and heap besides the decompressed pages. */
export interface ProcessLimits {
  readonly seconds: number;
  readonly heapMegabytes: number;
}

/** Time limit, because damaged pages can cause endless loops: over ten times what a file should take. */
const SECONDS = 30;
const SECONDS_PER_MB = 5;
/** Upper bound of the time limit; a row group of a gigabyte takes some seconds. */
const MAX_SECONDS = 300;
const HEAP_MEGABYTES = 4096;
/**
 * Bytes of JSON per character of text, at most: six for a control character, and three for the quotes and comma of a
 * text.
 */
const JSON_FACTOR = 9;
/** Bytes of JSON around the values. */
const JSON_FRAME = 2 ** 20;
/** Bytes of all rows as JSON. */
const MAX_ROW_BYTES = 2 ** 28;

/**
 * `readParquetTexts` in a child process, for untrusted files.
 * @throws GpruneError as `readParquetTexts`; BAD_FILE when the child exceeds a limit, OUT_OF_MEMORY when the kernel
 *   kills it, INTERNAL when it fails in another way
 */
export async function parquetTexts(
  request: Extract<ParquetRequest, { readonly maxBytes: number }>,
  limits?: ProcessLimits,
): Promise<readonly unknown[]> {
  return answerTo(request, JSON_FACTOR * request.maxBytes, limits);
}

/**
 * `readParquetRows` in a child process, for untrusted files.
 * @param options - `maxBytes`: bytes of all rows as JSON
 * @throws GpruneError as `readParquetRows` and `parquetTexts`, and BAD_FILE for more than `maxBytes`
 */
export async function parquetRows(
  path: string,
  rows: number,
  { maxBytes = MAX_ROW_BYTES }: { readonly maxBytes?: number } = {},
): Promise<readonly unknown[]> {
  return answerTo({ path, rows: Math.min(rows, Number.MAX_SAFE_INTEGER) }, maxBytes);
}

async function limitsFor(path: string): Promise<ProcessLimits> {
  const megabytes = (await stat(path).catch(() => ({ size: 0 }))).size / 1e6;
  const seconds = Math.min(MAX_SECONDS, Math.ceil(SECONDS + SECONDS_PER_MB * megabytes));
  return { seconds, heapMegabytes: HEAP_MEGABYTES };
}

async function answerTo(
  request: ParquetRequest,
  maxBytes: number,
  limits?: ProcessLimits,
): Promise<readonly unknown[]> {
  const answer = await run(request, maxBytes, limits ?? (await limitsFor(request.path)));
  if ("values" in answer) return answer.values;
  throw GpruneError.fromPlain(answer.error);
}

function run(request: ParquetRequest, maxBytes: number, limits: ProcessLimits): Promise<ParquetAnswer> {
  const { path, nodeOptions } = ownProgram("parquet_child", import.meta.url);
  const program = [...nodeOptions, `--max-old-space-size=${limits.heapMegabytes}`, path];
  const settings = {
    timeout: 1000 * limits.seconds,
    killSignal: "SIGKILL",
    maxBuffer: maxBytes + JSON_FRAME,
  } as const;
  return new Promise((resolve, reject) => {
    const fail = (cause: ExecFileException, stderr = ""): void =>
      reject(childFailure(request.path, cause, { ...limits, maxBytes, stderr }));
    const args = [...program, JSON.stringify(request)];
    try {
      execFile(process.execPath, args, settings, (cause, stdout, stderr) => {
        if (cause === null) resolve(JSON.parse(stdout) as ParquetAnswer);
        else fail(cause, stderr);
      });
    } catch (cause) {
      // For example when there is no memory for a new process.
      fail(cause as Error);
    }
  });
}

/** The error for a failed child process. */
function childFailure(
  path: string,
  cause: ExecFileException,
  {
    seconds,
    heapMegabytes,
    maxBytes,
    stderr,
  }: ProcessLimits & { readonly maxBytes: number; readonly stderr: string },
): GpruneError {
  if (cause.code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER") {
    const hint = "Read fewer rows (--limit) or split the file.";
    const message = `${path}: expected rows of at most ${maxBytes} bytes as JSON, got more`;
    return new GpruneError("BAD_FILE", message, { hint, cause });
  }
  if (cause.killed || isOutOfMemory(stderr)) {
    const limits = `${seconds} seconds and ${heapMegabytes} MB`;
    const hint = "Download it again or rewrite it with smaller row groups.";
    const message = `${path}: expected a Parquet file that can be decoded in ${limits}, got a larger one`;
    return new GpruneError("BAD_FILE", message, { hint, cause });
  }
  const expected = `${path}: expected rows from the decoding process`;
  // The kernel kills processes when memory runs out.
  if (cause.signal === "SIGKILL") {
    const hint = "Free memory and repeat the command, or rewrite the file with smaller row groups.";
    return new GpruneError("OUT_OF_MEMORY", `${expected}, but it was ended by SIGKILL`, { hint, cause });
  }
  const errorLine = stderr.split("\n").find((line) => /Error\b.*:/.test(line)) ?? "";
  const end = cause.signal ? `was ended by ${cause.signal}` : `ended with exit code ${cause.code}`;
  const started = typeof cause.code === "string" ? `did not start: ${cause.message}` : end;
  return new GpruneError(
    "INTERNAL",
    `internal: ${expected}, but it ${started}${errorLine && `: ${errorLine.trim()}`}`,
    {
      hint: "Repeat the command; if it fails again, convert the file to JSON Lines and report this.",
      cause,
    },
  );
}
