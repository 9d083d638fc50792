/**
 * The program of the process that unpacks Parquet files for parquet_process.ts: takes a request as its only argument,
 * writes texts, rows or what is wrong as JSON to stdout. The parent ends it when its time is over; where the parent is
 * gone, a thread does, which runs while damaged pages keep the unpacking from ending.
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

/** The thread's program. */
const WATCH = `
const { ppid } = process;
setInterval(() => process.ppid === ppid || process.kill(process.pid, "SIGKILL"), 500);`;
new Worker(WATCH, { eval: true, execArgv: [] }).unref();

const request = JSON.parse(process.argv[2]!) as ParquetRequest;
process.stdout.write(JSON.stringify(await answerTo(request).catch(failure)));
