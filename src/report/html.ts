/**
 * HTML that is safe by construction: everything put into a template is escaped unless it came out of a template itself,
 * or was declared markup where it was made.
 */
import { visible } from "./text.ts";

/** Markup. Only this file makes it; `trusted` is the way in. */
export class Html {
  readonly markup: string;

  constructor(markup: string) {
    this.markup = markup;
  }
}

/** What a template takes; null and false are nothing. */
export type Part = Html | string | number | null | false | readonly Part[];

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** `html\`<td>${name}</td>\``. Values of attributes must be quoted. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  const text = strings.map((string, index) => string + (index < parts.length ? markupOf(parts[index]!) : ""));
  return new Html(text.join(""));
}

/** Declares that text is markup: style sheets and scripts of ours, drawings of our charts. */
export function trusted(markup: string): Html {
  return new Html(markup);
}

/** Text as it may stand in an element or a quoted attribute. */
export function escapeHtml(text: string): string {
  return visible(text).replaceAll(/[&<>"']/g, (character) => ESCAPES[character]!);
}

function markupOf(part: Part): string {
  if (part instanceof Html) return part.markup;
  if (part === null || part === false) return "";
  if (typeof part === "string" || typeof part === "number") return escapeHtml(String(part));
  return part.map(markupOf).join("");
}
