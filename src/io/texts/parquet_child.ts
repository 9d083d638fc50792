/**
 * The program that reads Parquet files in a child process for parquet_process.ts: takes a request as its only argument
 * and writes texts, rows or an error as JSON to stdout. The parent kills it at the end of its time limit. If the parent
 * dies, a watchdog thread kills it, which works even while a damaged page keeps the decompressor in an endless loop.
 */
import { Worker } from "node:worker_threads";
import { GpruneError } from "../../errors.ts";
import { PositionalFile } from "../files/file.ts";
import { readParquetRows, readParquetTexts } from "./parquet.ts";
import type { ParquetAnswer, ParquetRequest } from "./parquet_process.ts";

async function answerTo(request: ParquetRequest): Promise<ParquetAnswer> {
  const values = await PositionalFile.use<readonly unknown[]>(request.path, (file) =>
    "rows" in request ? readParquetRows(file, request.rows) : readParquetTexts(file, request),
  );
  return { values };
}

function failure(error: unknown): ParquetAnswer {
  if (!(error instanceof GpruneError)) throw error;
  return { error: error.plain };
}

/** Program of the watchdog thread. */
const WATCHDOG = `
const { ppid } = process;
setInterval(() => process.ppid === ppid || process.kill(process.pid, "SIGKILL"), 500);`;
new Worker(WATCHDOG, { eval: true, execArgv: [] }).unref();

const request = JSON.parse(process.argv[2]!) as ParquetRequest;
process.stdout.write(JSON.stringify(await answerTo(request).catch(failure)));
