/**
 * A process that reads Parquet files and is started anew when one of them ended it or kept it too long, as the
 * product's own would be. One for each file, as the product has it, takes a second.
 */
import { type ChildProcess, fork } from "node:child_process";
import type { Socket } from "node:net";
import { GpruneError, type PlainError } from "../../src/errors.ts";
import { isOutOfMemory, ownProgram } from "../../src/io/files/own_program.ts";
import type { ParquetRequest } from "../../src/io/texts/parquet_process.ts";

/** What came of a file; of one that was read nothing. */
export interface ParquetVerdict {
  readonly refusal?: PlainError;
  readonly bug?: string;
}

/** Milliseconds for a file. */
const PATIENCE = 5000;
const HEAP_MEGABYTES = 512;

let reader: ChildProcess | undefined;

/** @throws GpruneError for a file that is refused or takes too much; Error for one that the reader fails at */
export async function readInProcess(request: ParquetRequest): Promise<void> {
  reader ??= start();
  const { refusal, bug } = await answer(reader, request);
  if (bug !== undefined) throw new Error(bug);
  if (refusal !== undefined) throw GpruneError.fromPlain(refusal);
}

function start(): ChildProcess {
  const { path, nodeOptions } = ownProgram("parquet_child", import.meta.url);
  const child = fork(path, {
    execArgv: [...nodeOptions, `--max-old-space-size=${HEAP_MEGABYTES}`],
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  // It ends when this process has ended, which it does not keep from ending.
  child.channel?.unref();
  (child.stderr as Socket).unref();
  return child;
}

function answer(child: ChildProcess, request: ParquetRequest): Promise<ParquetVerdict> {
  return new Promise((resolve) => {
    let said = "";
    child.ref();
    const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    const listen = (text: Buffer): void => {
      said += text;
    };
    const settle = (verdict: ParquetVerdict): void => {
      clearTimeout(timer);
      child.unref();
      child.off("message", settle).off("exit", ended);
      child.stderr!.off("data", listen);
      resolve(verdict);
    };
    const ended = (code: number | null, signal: string | null): void => {
      reader = undefined;
      const isLimit = signal === "SIGKILL" || isOutOfMemory(said);
      const limit: PlainError = { code: "BAD_FILE", message: "a limit of the process" };
      settle(isLimit ? { refusal: limit } : { bug: `the process ended: ${code ?? signal}\n${said}` });
    };
    child.on("message", settle).on("exit", ended);
    child.stderr!.on("data", listen);
    child.send(request);
  });
}
