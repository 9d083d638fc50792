/** Lists in sentences and messages, which name the first few of what may be thousands. */
import { plainName } from "./plain_text.ts";

/** Most items of a list in one message. */
export const MAX_LISTED = 8;

/** The first few of a list and, in place of the others, `and 62 more`. */
export function firstFew(items: readonly string[]): readonly string[] {
  const more = items.length - MAX_LISTED;
  return more > 0 ? [...items.slice(0, MAX_LISTED), `and ${more} more`] : items;
}

/** `web, code, and 62 more`; names of strangers are made harmless. */
export function namesText(names: readonly string[]): string {
  return firstFew(names.map(plainName)).join(", ");
}

/** `a, b or c`; empty for no words. */
export function orList(words: readonly string[]): string {
  return [words.slice(0, -1).join(", "), ...words.slice(-1)].filter((part) => part !== "").join(" or ");
}
