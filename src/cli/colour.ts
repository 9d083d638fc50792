/** ANSI colours of terminal output, and whether a stream gets them. */

/** Functions that wrap text in escape codes, or return it unchanged. */
export type Paint = Readonly<Record<"bold" | "dim" | "red" | "green" | "cyan", (text: string) => string>>;

/** Opening and closing parameter of SGR, ECMA-48 8.3.117. */
const CODES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], cyan: [36, 39] } as const;

/**
 * Whether a stream gets colours: never with NO_COLOR (no-color.org), always with FORCE_COLOR, else if it is a terminal
 * that is not dumb.
 */
export function wantsColour(
  { isTTY = false }: { readonly isTTY?: boolean },
  environment: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  const { NO_COLOR: no = "", FORCE_COLOR: force, TERM: term } = environment;
  if (no !== "") return false;
  if (force !== undefined) return force !== "0" && force !== "false";
  return isTTY && term !== "dumb";
}

export function paintFor(isColourful: boolean): Paint {
  const entries = Object.entries(CODES).map(([name, [open, close]]) => {
    return [name, (text: string) => (isColourful ? `\u001b[${open}m${text}\u001b[${close}m` : text)];
  });
  return Object.fromEntries(entries) as Paint;
}
