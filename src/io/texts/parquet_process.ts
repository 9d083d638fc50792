/**
 * Texts or rows from a Parquet file, unpacked in a process of its own. The format lets a few bytes stand for billions
 * of values, and neither a catch nor a thread survives the memory they take; a process ends alone.
 */
import { type ExecFileException, execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { GpruneError, type PlainError } from "../../errors.ts";
import { isOutOfMemory, ownProgram } from "../files/own_program.ts";
import type { ColumnRequest } from "./parquet.ts";

/** What the process is asked. */
export type ParquetRequest = { readonly path: string } & (ColumnRequest | { readonly rows: number });

/** What it answers. */
export type ParquetAnswer = { readonly values: readonly unknown[] } | { readonly error: PlainError };

/** What the process may take: seconds, and megabytes of heap besides the unpacked pages. */
export interface ProcessLimits {
  readonly seconds: number;
  readonly heapMegabytes: number;
}

/** Damaged pages can keep the unpacking from ending. A file gets ten times and more what it should take. */
const SECONDS = 30;
const SECONDS_PER_MB = 5;
/** Row groups of a gigabyte take some seconds each. */
const MOST_SECONDS = 300;
const HEAP_MEGABYTES = 4096;
/**
 * Bytes of JSON for one character of text at most: a control character is written with six, quotes and comma of a text
 * are three.
 */
const JSON_FACTOR = 9;
/** Bytes of JSON around the values. */
const JSON_FRAME = 2 ** 20;
/** Bytes of JSON for rows. */
const MAX_ROW_BYTES = 2 ** 28;

/**
 * As `readParquetTexts`, for untrusted files.
 * @throws GpruneError as `readParquetTexts`; BAD_FILE when unpacking exceeds a limit, OUT_OF_MEMORY when the machine
 *   ends it, INTERNAL when it ends in another way
 */
export async function parquetTexts(
  request: Extract<ParquetRequest, { readonly maxBytes: number }>,
  limits?: ProcessLimits,
): Promise<readonly unknown[]> {
  return answerTo(request, JSON_FACTOR * request.maxBytes, limits);
}

/**
 * As `readParquetRows`, for untrusted files.
 * @param options - `maxBytes`: of all rows as JSON
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
  const seconds = Math.min(MOST_SECONDS, Math.ceil(SECONDS + SECONDS_PER_MB * megabytes));
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
      reject(failed(request.path, cause, { ...limits, maxBytes, stderr }));
    const args = [...program, JSON.stringify(request)];
    try {
      execFile(process.execPath, args, settings, (cause, stdout, stderr) => {
        if (cause === null) resolve(JSON.parse(stdout) as ParquetAnswer);
        else fail(cause, stderr);
      });
    } catch (cause) {
      // For want of memory, among others.
      fail(cause as Error);
    }
  });
}

/** What the end of the process means. */
function failed(
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
    const hint = "Ask for fewer rows with --limit, or write it anew in several files.";
    const message = `${path}: expected rows of at most ${maxBytes} bytes as JSON, got more`;
    return new GpruneError("BAD_FILE", message, { hint, cause });
  }
  if (cause.killed || isOutOfMemory(stderr)) {
    const limits = `${seconds} seconds and ${heapMegabytes} MB`;
    const hint = "Download it again, or write it anew with smaller row groups.";
    const message = `${path}: expected a Parquet file that unpacks in ${limits}, got more`;
    return new GpruneError("BAD_FILE", message, { hint, cause });
  }
  const expected = `${path}: expected a process that unpacks it`;
  // The kernel ends what takes too much memory.
  if (cause.signal === "SIGKILL") {
    const hint = "Free memory and repeat the command, or write the file anew with smaller row groups.";
    return new GpruneError("OUT_OF_MEMORY", `${expected}, it was ended by SIGKILL`, { hint, cause });
  }
  const said = stderr.split("\n").find((line) => /Error\b.*:/.test(line)) ?? "";
  const end = cause.signal ? `was ended by ${cause.signal}` : `ended with exit code ${cause.code}`;
  const started = typeof cause.code === "string" ? `did not start: ${cause.message}` : end;
  return new GpruneError("INTERNAL", `internal: ${expected}, it ${started}${said && `: ${said.trim()}`}`, {
    hint: "Repeat the command; if the file fails again, write it as JSON Lines, and report this.",
    cause,
  });
}
