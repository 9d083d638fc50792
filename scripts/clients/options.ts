/** Command lines of scripts and benchmarks: options, and their values. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { type ParseArgsConfig, parseArgs } from "node:util";

/** As `parseArgs` of node:util, except that `--help` prints the comment at the head of the program, and ends it. */
export function parseOptions<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  if (process.argv.includes("--help", 2)) {
    console.log(headOf(readFileSync(process.argv[1]!, "utf8")));
    process.exit(0);
  }
  return parseArgs(config);
}

/**
 * Whether a module is the program that was started, not one that it imports.
 * @param filename - `import.meta.filename` of the module, a path without symbolic links
 */
export function isProgram(filename: string, [, started = ""]: readonly string[] = process.argv): boolean {
  return existsSync(started) && realpathSync(started) === filename;
}

/** Text of the comment at the head of a source; empty if there is none. */
export function headOf(source: string): string {
  const [, comment = ""] = /^\/\*\*\s(.*?)\s*\*\//s.exec(source) ?? [];
  return comment.replaceAll(/^ \* ?/gm, "").trim();
}

/** @throws Error when the text is not a positive integer */
export function positiveInteger(name: string, text: string): number {
  if (!/^[1-9][0-9]*$/.test(text)) throw new Error(`--${name}: expected a positive integer, got ${text}`);
  return Number(text);
}

/** Positive integers between commas. @throws Error when one of them is none */
export function positiveIntegers(name: string, text: string): readonly number[] {
  return text.split(",").map((item) => positiveInteger(name, item));
}

/** @throws Error when the text is not a number above 0 */
export function positiveNumber(name: string, text: string): number {
  const value = Number(text);
  if (value > 0 && value < Number.POSITIVE_INFINITY) return value;
  throw new Error(`--${name}: expected a number above 0, got ${text}`);
}

/** @throws Error when the text is none of the values */
export function oneOf<T extends string>(name: string, text: string, values: readonly T[]): T {
  const found = values.find((value) => value === text);
  if (found === undefined) throw new Error(`--${name}: expected one of ${values.join(", ")}, got ${text}`);
  return found;
}

/** A number of threads; null when absent, so that every client chooses its own. */
export function threadsOf(text: string | undefined): number | null {
  return text === undefined ? null : positiveInteger("threads", text);
}
