/** Methods of Python's `str`. Indices and characters are code points. */

export type Side = "start" | "end";

/**
 * White space as `str.isspace` has it; JavaScript's includes U+FEFF, and lacks U+0085 and the separators U+001C to
 * U+001F.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are white space in Python
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** @param characters - to remove; white space if undefined */
export function strip(text: string, characters: string | undefined, sides: readonly Side[]): string {
  const isRemoved = (letter: string): boolean => characters?.includes(letter) ?? WHITE_SPACE.test(letter);
  const letters = Array.from(text);
  let [start, end] = [0, letters.length];
  if (sides.includes("start")) while (start < end && isRemoved(letters[start]!)) start++;
  if (sides.includes("end")) while (end > start && isRemoved(letters[end - 1]!)) end--;
  return letters.slice(start, end).join("");
}

/** `str.capitalize`: small letters depend on the letters before them, as the last sigma of a word does. */
export function capitalize(text: string): string {
  const [first = ""] = text;
  return first.toUpperCase() + text.toLowerCase().slice(first.toLowerCase().length);
}

/** `str.title`: a word is a run of letters, so "it's" has two. */
export function titleLetters(text: string): string {
  return text.replace(/\p{Cased}+/gu, capitalize);
}

/**
 * The filter `title` of jinja2: words begin after white space, hyphens and opening brackets; the first letter of each
 * and the others are taken apart.
 */
export function titleWords(text: string): string {
  return text.replace(
    /([^-\s({[<])([^-\s({[<]*)/gu,
    (_, first: string, rest: string) => first.toUpperCase() + rest.toLowerCase(),
  );
}

/**
 * `str.replace`: an empty text is found before and after every character. @param times - replacements at most; any
 * number if undefined
 */
export function replace(
  text: string,
  {
    old,
    new: other,
    times = Number.POSITIVE_INFINITY,
  }: { readonly old: string; readonly new: string; readonly times: number | undefined },
): string {
  const [first = "", ...pieces] = old === "" ? ["", ...text, ""] : text.split(old);
  return first + pieces.map((piece, index) => (index < times ? other : old) + piece).join("");
}

/** `str.find`: the first code point of a part, -1 where there is none. */
export function codePointIndex(text: string, part: string): number {
  const unit = text.indexOf(part);
  return unit < 0 ? unit : Array.from(text.slice(0, unit)).length;
}

/** `str.count`: without overlaps; an empty text is found before and after every character. */
export function occurrences(text: string, part: string): number {
  return (part === "" ? ["", ...text, ""] : text.split(part)).length - 1;
}
