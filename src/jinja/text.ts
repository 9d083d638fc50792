/** Methods of Python's texts. */

export type Side = "start" | "end";

/**
 * What `str.isspace` is true of, which JavaScript's white space is not: it has U+FEFF, and lacks separators and U+0085.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are white space in Python
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** @param characters - to remove; white space if there are none */
export function strip(text: string, characters: string | undefined, sides: readonly Side[]): string {
  const isRemoved = (letter: string): boolean => characters?.includes(letter) ?? WHITE_SPACE.test(letter);
  const letters = Array.from(text);
  let [start, end] = [0, letters.length];
  if (sides.includes("start")) while (start < end && isRemoved(letters[start]!)) start++;
  if (sides.includes("end")) while (end > start && isRemoved(letters[end - 1]!)) end--;
  return letters.slice(start, end).join("");
}

export function capitalize(text: string): string {
  const [first = ""] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/** `str.title`: a word is a run of letters, it's has two. */
export function titleLetters(text: string): string {
  return text.replace(/\p{Cased}+/gu, capitalize);
}

/** The filter `title` of jinja2: words begin after white space, hyphens and opening brackets. */
export function titleWords(text: string): string {
  return text.replace(/[^-\s({[<]+/g, capitalize);
}

/**
 * `str.replace`: an empty text is found before and after every character. @param times - at most; any number if absent
 */
export function replaced(
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
