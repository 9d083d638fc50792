/** Makes text from files safe to show on a page or in a picture. */

/** Control characters, marks that change the direction of text, line separators, and lone surrogates. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\p{Surrogate}/gu;

/** The text with characters that are invisible or affect their neighbours replaced by visible escapes. */
export function visible(text: string): string {
  return text.replaceAll(INVISIBLE, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Last parts of paths that do not identify a model. */
const GENERIC = new Set(["model", "checkpoint", "out", "output", "final"]);

/** A short name for a path or an address: its last part, with the one before it where the last is generic. */
export function shortName(path: string): string {
  const parts = path.split(/[\\/]/).filter((part) => part !== "");
  const last = parts.at(-1) ?? path;
  return GENERIC.has(last.toLowerCase()) ? parts.slice(-2).join("/") : last.replace(/\.gguf$/i, "");
}
