/**
 * The program of the process that unpacks Parquet files for parquet_process.ts: takes a request as its only argument,
 * writes texts, rows or what is wrong as JSON to stdout. The parent ends it when its time is over; where the parent is gone, a
 * thread does, which runs while damaged pages keep the unpacking from ending.
 */
import { Worker } from "node:worker_threads";
import { GpruneError } from "../errors.ts";
import { PositionalFile } from "./file.ts";
import { readParquetRows, readParquetTexts } from "./parquet.ts";
import type { ParquetAnswer, ParquetRequest } from "./parquet_process.ts";

async function answerTo(request: ParquetRequest): Promise<ParquetAnswer> {
  const file = await PositionalFile.open(request.path);
  try {
    const isRows = "rows" in request;
    return {
      values: isRows ? await readParquetRows(file, request.rows) : await readParquetTexts(file, request),
    };
  } finally {
    await file.close();
  }
}

function failure(error: unknown): ParquetAnswer {
  if (!(error instanceof GpruneError)) throw error;
  return { error: error.plain };
}

const WATCH = `
const { ppid } = process;
setInterval(() => process.ppid === ppid || process.kill(process.pid, "SIGKILL"), 500);`;
new Worker(WATCH, { eval: true, execArgv: [] }).unref();

const request = JSON.parse(process.argv[2]!) as ParquetRequest;
process.stdout.write(JSON.stringify(await answerTo(request).catch(failure)));
