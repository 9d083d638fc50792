/** Pieces of a page: figures, tables, sections. */
import { type Html, html } from "./html.ts";
import type { Picture } from "./picture.ts";

/** Pictures of one run by id, drawn. */
export type Figures = ReadonlyMap<string, Html>;

/** A picture with its title above and how to read it below. */
export function figure({ id, title, caption }: Picture, drawing: Html): Html {
  return html`<figure id="${id}"><h3>${title}</h3>${drawing}<figcaption>${caption}</figcaption></figure>`;
}

/** The figures of these ids that there are, and tables, side by side where there is room. */
export function row(figures: Figures, ...parts: readonly (string | Html | null)[]): Html | null {
  const found = parts.flatMap((part) => (typeof part === "string" ? figures.get(part) : part) ?? []);
  return found.length === 0 ? null : html`<div class="row">${found}</div>`;
}

/** A cell; with a number beside its text, it is sorted by that number. */
export type Cell =
  | string
  | null
  | Html
  | { readonly text: string; readonly value: number; readonly mark?: string };

export interface Column {
  readonly title: string;
  /** Numbers stand to the right. */
  readonly numeric?: boolean;
}

export interface Table {
  readonly caption: string;
  readonly columns: readonly Column[];
  /** One cell for each column; null is a dash. */
  readonly rows: readonly (readonly Cell[])[];
  /** Whether it has so many rows that it scrolls. */
  readonly long?: boolean;
}

/** A table that can be sorted where scripts run, and read where they do not. */
export function table({ caption, columns, rows, long = false }: Table): Html {
  const head = columns.map(
    ({ title, numeric }, index) =>
      html`<th scope="col"${numeric && index > 0 ? html` class="number"` : null}>${title}</th>`,
  );
  const body = rows.map(
    (row) => html`<tr>${row.map((cell, index) => td(cell, { ...columns[index]!, index }))}</tr>`,
  );
  return html`<div class="table"><h3>${caption}</h3><div class="scroll${long ? " long" : ""}" tabindex="0" role="region" aria-label="${caption}"><table aria-label="${caption}">
<thead><tr>${head}</tr></thead><tbody>
${body.flatMap((line) => [
  line,
  html`
`,
])}</tbody></table></div></div>`;
}

function td(cell: Cell, { numeric = false, index }: Column & { readonly index: number }): Html {
  if (index === 0) return html`<th scope="row">${contentOf(cell)}</th>`;
  const classes = [numeric ? "number" : "", isMarked(cell) ? cell.mark : ""].filter((name) => name !== "");
  const attribute = classes.length === 0 ? null : html` class="${classes.join(" ")}"`;
  const value = isNumber(cell) ? html` data-value="${cell.value}"` : null;
  return html`<td${attribute}${value}>${contentOf(cell)}</td>`;
}

function contentOf(cell: Cell): Html | string {
  if (cell === null) return "–";
  return isNumber(cell) ? cell.text : cell;
}

function isNumber(cell: Cell): cell is Exclude<Cell, string | null | Html> {
  return cell !== null && typeof cell === "object" && "value" in cell;
}

function isMarked(
  cell: Cell,
): cell is { readonly text: string; readonly value: number; readonly mark: string } {
  return isNumber(cell) && cell.mark !== undefined;
}

/** A section with an anchor; null without content. */
export function section(
  id: string,
  title: string,
  content: readonly (Html | null)[],
): { readonly id: string; readonly title: string; readonly body: Html } | null {
  const present = content.filter((part) => part !== null);
  if (present.length === 0) return null;
  return { id, title, body: html`<section id="${id}"><h2>${title}</h2>${present}</section>` };
}

export type Section = NonNullable<ReturnType<typeof section>>;

/** Names and what they stand for. */
export function definitions(rows: readonly (readonly [string, Html | string])[]): Html {
  return html`<dl>${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
