/**
 * Texts or rows from a Parquet file, unpacked in a process of its own. The format lets a few bytes stand for billions of values,
 * and neither a catch nor a thread survives the memory they take; a process ends alone.
 */
import { execFile } from "node:child_process";
import { type ErrorCode, GpruneError } from "../errors.ts";
import { ownProgram } from "./own_program.ts";

/** What the process is asked. */
export type ParquetRequest = { readonly path: string } & (
  | { readonly maxBytes: number; readonly column: string | undefined }
  | { readonly rows: number }
);

/** What it answers. */
export type ParquetAnswer =
  | { readonly values: readonly unknown[] }
  | {
      readonly error: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly hint?: string | undefined;
      };
    };

/** What the process may take: seconds, and megabytes of heap besides the unpacked pages. */
export interface ProcessLimits {
  readonly seconds: number;
  readonly heapMegabytes: number;
}

/** Row groups of a gigabyte take some seconds each. */
const LIMITS: ProcessLimits = { seconds: 300, heapMegabytes: 4096 };
/** Bytes of JSON for one byte of text at most: a control character is written with six. */
const JSON_FACTOR = 6;
/** Bytes of JSON for rows. */
const MAX_ROW_BYTES = 2 ** 28;

/**
 * As `readParquetTexts`, for files that nobody vouches for.
 * @throws GpruneError as `readParquetTexts`, and BAD_FILE when unpacking exceeds a limit
 */
export async function parquetTexts(
  request: Extract<ParquetRequest, { readonly maxBytes: number }>,
  limits: ProcessLimits = LIMITS,
): Promise<readonly string[]> {
  return (await answerTo(request, JSON_FACTOR * request.maxBytes, limits)) as readonly string[];
}

/**
 * As `readParquetRows`, for files that nobody vouches for.
 * @throws GpruneError as `readParquetRows`, and BAD_FILE when unpacking exceeds a limit
 */
export async function parquetRows(path: string, rows: number): Promise<readonly unknown[]> {
  return answerTo({ path, rows: Math.min(rows, Number.MAX_SAFE_INTEGER) }, MAX_ROW_BYTES, LIMITS);
}

async function answerTo(
  request: ParquetRequest,
  maxBytes: number,
  limits: ProcessLimits,
): Promise<readonly unknown[]> {
  const answer = await run(request, maxBytes, limits);
  if ("values" in answer) return answer.values;
  const { code, message, hint } = answer.error;
  throw new GpruneError(code, message, hint === undefined ? {} : { hint });
}

function run(
  request: ParquetRequest,
  maxBytes: number,
  { seconds, heapMegabytes }: ProcessLimits,
): Promise<ParquetAnswer> {
  const { path, nodeOptions } = ownProgram("parquet_child", import.meta.url);
  const program = [...nodeOptions, `--max-old-space-size=${heapMegabytes}`, path];
  const settings = {
    timeout: 1000 * seconds,
    killSignal: "SIGKILL",
    maxBuffer: maxBytes + 2 ** 20,
  } as const;
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [...program, JSON.stringify(request)], settings, (cause, stdout) => {
      if (cause === null) resolve(JSON.parse(stdout) as ParquetAnswer);
      else reject(tooMuch(request.path, { seconds, heapMegabytes }, cause));
    });
  });
}

function tooMuch(path: string, { seconds, heapMegabytes }: ProcessLimits, cause: Error): GpruneError {
  const limits = `${seconds} seconds and ${heapMegabytes} MB`;
  return new GpruneError("BAD_FILE", `${path}: expected a Parquet file that unpacks in ${limits}, got more`, {
    hint: "Download it again, or write it anew with smaller row groups.",
    cause,
  });
}
