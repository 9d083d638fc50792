/** Text from files, made harmless for a page and a picture. */

/** Control characters, marks that turn the direction of text around, and halves of characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\p{Surrogate}/gu;

/** The text with what cannot be seen, or changes how its neighbours are seen, as visible escapes. */
export function visible(text: string): string {
  return text.replaceAll(INVISIBLE, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Last parts of paths that say nothing by themselves. */
const GENERIC = new Set(["model", "checkpoint", "out", "output", "final"]);

/** A short name for a path or an address: its last part, with the one before where that says nothing. */
export function shortName(path: string): string {
  const parts = path.split(/[\\/]/).filter((part) => part !== "");
  const last = parts.at(-1) ?? path;
  return GENERIC.has(last.toLowerCase()) ? parts.slice(-2).join("/") : last.replace(/\.gguf$/i, "");
}
