/**
 * The program of the child process of parquet_process.ts: reads Parquet files one after the other, as
 * src/io/texts/parquet_child.ts reads one.
 */
import { GpruneError } from "../../src/errors.ts";
import { PositionalFile } from "../../src/io/files/file.ts";
import { readParquetRows, readParquetTexts } from "../../src/io/texts/parquet.ts";
import type { ParquetRequest } from "../../src/io/texts/parquet_process.ts";
import type { ParquetVerdict } from "./parquet_process.ts";

async function verdictOn(request: ParquetRequest): Promise<ParquetVerdict> {
  try {
    const values = await PositionalFile.use<readonly unknown[]>(request.path, (file) =>
      "rows" in request ? readParquetRows(file, request.rows) : readParquetTexts(file, request),
    );
    JSON.stringify(values);
    return {};
  } catch (error) {
    return error instanceof GpruneError ? { refusal: error.plain } : { bug: (error as Error).stack ?? "" };
  }
}

process.on("message", async (request: ParquetRequest) => process.send!(await verdictOn(request)));
