/**
 * Makes text from outside harmless for terminals and messages: the one place that decides what may reach a screen.
 * Tensor names, keys, paths, document texts and model output all pass through here.
 */

/**
 * C0 controls except tab and line feed, DEL and C1 controls, which start escape sequences, and marks that reverse the
 * direction of writing, which make one text look like another.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Most characters of a name in a message. */
const MAX_NAME = 100;

/** Text of several lines, with characters that could steer a terminal as visible escapes, `\x1b` or `\u202e`. */
export function plainText(text: string): string {
  return text.replace(STEERING, visible);
}

/** A name on one line of a message: line breaks and tabs become visible as well, and a long name is cut. */
export function plainName(name: string): string {
  const cut = name.length > MAX_NAME ? `${name.slice(0, MAX_NAME)}...` : name;
  return plainText(cut).replace(/[\t\n\u2028\u2029]/g, visible);
}

/**
 * A JSON document for a terminal: the same value, with steering characters spelled as JSON escapes.
 * @param indent - spaces of a level; 0 for one line
 */
export function plainJson(value: unknown, indent: number = 2): string {
  return JSON.stringify(value, null, indent).replace(STEERING, (character) => `\\u${hex(character, 4)}`);
}

/**
 * A word of a shell command, quoted where it holds more than letters, digits and `_ . / : @ % + = , -`, or begins with
 * the last.
 */
export function shellWord(text: string): string {
  return /^[\w./:@%+=,][\w./:@%+=,-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function visible(character: string): string {
  return character < "\u0100" ? `\\x${hex(character, 2)}` : `\\u${hex(character, 4)}`;
}

function hex(character: string, digits: number): string {
  return character.charCodeAt(0).toString(16).padStart(digits, "0");
}
