/**
 * A child process that reads Parquet files, and is started anew when a file has crashed it or taken too long. The
 * product starts a process for each file, which would take a second each here.
 */
import { type ChildProcess, fork } from "node:child_process";
import type { Socket } from "node:net";
import { GpruneError, type PlainError } from "../../src/errors.ts";
import { isOutOfMemory, ownProgram } from "../../src/io/files/own_program.ts";
import type { ParquetRequest } from "../../src/io/texts/parquet_process.ts";

/** Outcome of reading a file; empty when it was read. */
export interface ParquetVerdict {
  readonly refusal?: PlainError;
  readonly bug?: string;
}

/** Milliseconds after which a file counts as refused. */
const PATIENCE = 5000;
const HEAP_MEGABYTES = 512;

let reader: ChildProcess | undefined;

/** Reads a file. @throws GpruneError when it is refused or exceeds a limit; Error when the reader fails */
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
  // It exits with this process, and does not keep it alive.
  child.channel?.unref();
  (child.stderr as Socket).unref();
  return child;
}

function answer(child: ChildProcess, request: ParquetRequest): Promise<ParquetVerdict> {
  return new Promise((resolve) => {
    let stderr = "";
    child.ref();
    const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    const listen = (text: Buffer): void => {
      stderr += text;
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
      const isLimit = signal === "SIGKILL" || isOutOfMemory(stderr);
      const limit: PlainError = { code: "BAD_FILE", message: "a limit of the process" };
      settle(isLimit ? { refusal: limit } : { bug: `the process ended: ${code ?? signal}\n${stderr}` });
    };
    child.on("message", settle).on("exit", ended);
    child.stderr!.on("data", listen);
    child.send(request);
  });
}
