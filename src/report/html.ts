/**
 * HTML that is safe by construction: every value put into a template is escaped unless it is the result of a template
 * itself or was declared markup by `trusted`.
 */
import { visible } from "./text.ts";

/** Markup, made only in this file: by `html`, and from text by `trusted`. */
export class Html {
  readonly markup: string;

  constructor(markup: string) {
    this.markup = markup;
  }
}

/** A value for a template; null and false are rendered as nothing. */
export type Part = Html | string | number | null | false | readonly Part[];

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Template tag that escapes its values, as in `html\`<td>${name}</td>\``. Attribute values must be quoted. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  const text = strings.map((string, index) => string + (index < parts.length ? markupOf(parts[index]!) : ""));
  return new Html(text.join(""));
}

/** Declares text to be markup: gprune's own style sheets and scripts, and drawn charts. */
export function trusted(markup: string): Html {
  return new Html(markup);
}

/** Text escaped for an element or a quoted attribute. */
export function escapeHtml(text: string): string {
  return visible(text).replaceAll(/[&<>"']/g, (character) => ESCAPES[character]!);
}

function markupOf(part: Part): string {
  if (part instanceof Html) return part.markup;
  if (part === null || part === false) return "";
  if (typeof part === "string" || typeof part === "number") return escapeHtml(String(part));
  return part.map(markupOf).join("");
}
