/** Parsers of command-line options, shared by scripts and benchmarks. */

/** @throws Error when the text is not a positive integer */
export function positiveInteger(name: string, text: string): number {
  if (!/^[1-9][0-9]*$/.test(text)) throw new Error(`--${name}: expected a positive integer, got ${text}`);
  return Number(text);
}

/** A number of threads; null when absent, so that every client chooses its own. */
export function threadsOf(text: string | undefined): number | null {
  return text === undefined ? null : positiveInteger("threads", text);
}
