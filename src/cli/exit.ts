/** How the process ends: 0 good, 1 the user's input was wrong, 2 a bug, 130 and 143 interrupted. */
import { GpruneError } from "../errors.ts";
import { removeTemporaries } from "../io/output_directory.ts";
import { runCleanups } from "./interrupt.ts";
import { plainText } from "./terminal.ts";

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** Prints what went wrong and sets the exit code. Only bugs show a stack. */
export function fail(error: unknown): void {
  if (error instanceof GpruneError && error.code !== "INTERNAL") {
    process.stderr.write(`error ${error.code}: ${plainText(error.message)}\n`);
    if (error.hint !== undefined) process.stderr.write(`hint: ${plainText(error.hint)}\n`);
    process.exitCode = 1;
    return;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(
    `${plainText(text)}\nThis is a bug in gprune; please report it with the text above.\n`,
  );
  process.exitCode = 2;
}

/**
 * On Ctrl-C, termination and errors that nobody caught: remove what is half written, then leave. The handlers stay, so
 * a second Ctrl-C does no harm.
 */
export function handleExits(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      undo();
      process.stderr.write(`\ninterrupted by ${signal}; nothing unfinished is left behind\n`);
      process.exit(EXIT_CODES[signal]);
    });
  }
  process.on("uncaughtException", (error) => {
    undo();
    fail(error);
    process.exit();
  });
}

/** A reader that has seen enough (`gprune inspect MODEL | head`) is no error: what it no longer wants is dropped. */
export function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

function undo(): void {
  runCleanups();
  removeTemporaries();
}
