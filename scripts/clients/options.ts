/** Options of the commands. */

/** @throws Error when the text is no positive integer */
export function positiveInteger(name: string, text: string): number {
  if (!/^[1-9][0-9]*$/.test(text)) throw new Error(`--${name}: expected a positive integer, got ${text}`);
  return Number(text);
}

/** A number of threads; null when there is no option, so that every client chooses. */
export function threadsOf(text: string | undefined): number | null {
  return text === undefined ? null : positiveInteger("threads", text);
}
