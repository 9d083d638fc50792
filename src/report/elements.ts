/** Elements of a page: figures, tables, sections. */
import { withMinus } from "./format.ts";
import { type Html, html } from "./html.ts";
import type { Picture } from "./picture.ts";

/** Drawn figures by the ids of their pictures. */
export type Figures = ReadonlyMap<string, Html>;

/** A figure element: the title above the drawing, the caption below. */
export function figure({ id, title, caption }: Picture, drawing: Html): Html {
  return html`<figure id="${id}"><h3>${title}</h3>${drawing}<figcaption>${caption}</figcaption></figure>`;
}

/** Figures, by id, and tables side by side where there is room; ids without a figure are skipped. */
export function row(figures: Figures, ...parts: readonly (string | Html | null)[]): Html | null {
  const found = parts.flatMap((part) => (typeof part === "string" ? figures.get(part) : part) ?? []);
  return found.length === 0 ? null : html`<div class="row">${found}</div>`;
}

/** A table cell; one with a `value` is sorted by it. */
export type Cell =
  | string
  | null
  | Html
  | { readonly text: string; readonly value: number; readonly mark?: string };

export interface Column {
  readonly title: string;
  /** Whether cells are aligned right. */
  readonly numeric?: boolean;
  /** Title above adjacent columns of the same group. */
  readonly group?: string;
}

/** Columns of numbers, in a group if one is named. */
export function numbers(titles: readonly string[], group?: string): readonly Column[] {
  return titles.map((title) => ({ title, numeric: true, ...(group !== undefined && { group }) }));
}

/** Least number of rows for which a table scrolls. */
const LONG = 17;

export interface Table {
  readonly caption: string;
  readonly columns: readonly Column[];
  /** One cell for each column; null is shown as a dash. */
  readonly rows: readonly (readonly Cell[])[];
  /** A sentence above the table that helps to read it. */
  readonly note?: string | null;
}

/** A table that can be sorted where scripts run. A long one scrolls and shows its number of rows. */
export function table({ caption, columns, rows, note = null }: Table): Html {
  const body = rows.map(
    (row) => html`<tr>${row.map((cell, index) => td(cell, { ...columns[index]!, index }))}</tr>`,
  );
  const isLong = rows.length >= LONG;
  const length = isLong && html` <span class="length">${rows.length} rows</span>`;
  return html`<div class="table"><h3>${caption}${length}</h3>${note !== null && html`<p class="aside">${note}</p>`}<div class="scroll${isLong ? " long" : ""}" tabindex="0" role="region" aria-label="${caption}"><table aria-label="${caption}">
<thead>${headRows(columns)}</thead><tbody>
${body.flatMap((line) => [
  line,
  html`
`,
])}</tbody></table></div></div>`;
}

/** One row of titles, or two where columns have groups. */
function headRows(columns: readonly Column[]): readonly Html[] {
  const isGrouped = columns.some(({ group }) => group !== undefined);
  const span = isGrouped && html` rowspan="2"`;
  const title = (index: number, spans: Html | false): Html => {
    const { title: text, numeric } = columns[index]!;
    const name = numeric === true && index > 0 && html` class="number"`;
    return html`<th scope="col" data-column="${index}"${spans}${name}>${text}</th>`;
  };
  const first = columns.flatMap(({ group }, index) => {
    if (group === undefined) return [title(index, span)];
    if (columns[index - 1]?.group === group) return [];
    const next = columns.findIndex((column, other) => other > index && column.group !== group);
    const width = (next === -1 ? columns.length : next) - index;
    return [html`<th scope="colgroup" class="group" colspan="${width}">${group}</th>`];
  });
  const second = columns.flatMap(({ group }, index) => (group === undefined ? [] : [title(index, false)]));
  return isGrouped ? [html`<tr>${first}</tr>`, html`<tr>${second}</tr>`] : [html`<tr>${first}</tr>`];
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
  return isNumber(cell) ? withMinus(cell.text) : cell;
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

/** A list of terms and their descriptions. */
export function definitions(rows: readonly (readonly [Html | string, Html | string])[]): Html {
  return html`<dl>${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
