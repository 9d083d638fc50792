/** Exit codes (0 success, 1 wrong input, 2 a bug, 130 and 143 interrupted), error output and signal handlers. */
import { GpruneError } from "../errors.ts";
import { removeTemporaries } from "../io/files/output_directory.ts";
import { paintFor, wantsColour } from "./colour.ts";
import { runCleanups } from "./interrupt.ts";
import type { Failure, StopSignal } from "./messages.ts";
import { plainText, writeErr } from "./terminal.ts";

export const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** Handler of signals; null while a signal ends the process. */
let answer: ((signal: StopSignal) => void) | null = null;

/** Prints an error and sets the exit code. */
export function fail(error: unknown): void {
  const { failure, exitCode } = failureOf(error);
  printFailure(failure);
  process.exitCode = exitCode;
}

/** Message and exit code of an error; bugs have their stack as the message. */
export function failureOf(error: unknown): { readonly failure: Failure; readonly exitCode: number } {
  const isExpected = error instanceof GpruneError && error.code !== "INTERNAL";
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const failure = isExpected ? error.plain : { message };
  return { failure, exitCode: exitCodeOf(failure) };
}

/** Exit code of a failure: 2 for a bug, which has no code, else 1. */
export function exitCodeOf({ code }: Failure): number {
  return code === undefined ? 2 : 1;
}

export function printFailure({ code, message, hint }: Failure): void {
  if (code === undefined) {
    const request = "This is a bug in gprune; please report it with the text above.";
    writeErr(`${plainText(message)}\n${request}\n`);
    return;
  }
  const paint = paintFor(wantsColour(process.stderr));
  writeErr(`${paint.red(`error ${code}:`)} ${plainText(message)}\n`);
  if (hint !== undefined) writeErr(`${paint.cyan("hint:")} ${plainText(hint)}\n`);
}

/** Prints an error that commander found in the command line, in the form of all other errors. */
export function writeUsageError(text: string): void {
  const code = paintFor(wantsColour(process.stderr)).red("error BAD_ARGUMENT:");
  writeErr(text.replace(/^error:/, () => code));
}

/** Passes signals to `handler` from now on, which then has to end the process. */
export function onSignals(handler: (signal: StopSignal) => void): void {
  answer = handler;
}

/**
 * On Ctrl-C, termination and uncaught errors: removes unfinished output, then exits. The handlers stay, so a second
 * Ctrl-C does no harm.
 */
export function handleExits(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (answer !== null) return answer(signal);
      undo();
      writeErr(`\ninterrupted by ${signal}; no partial output is left\n`);
      process.exit(EXIT_CODES[signal]);
    });
  }
  process.on("uncaughtException", (error) => {
    undo();
    fail(error);
    process.exit();
  });
}

function undo(): void {
  runCleanups();
  removeTemporaries();
}
