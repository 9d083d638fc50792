/** Charts with a title and a description in words, drawn into a page or as a file. */

import { badArgument } from "../base/arguments.ts";
import { escapeHtml, type Html, trusted } from "./html.ts";
import { framed, PAGE, PAPER, type Palette } from "./palette.ts";
import { type Chart, chartPng, chartSvg } from "./pictures.ts";
import { visible } from "./text.ts";

export interface Picture {
  /** Anchor on the page and name of its saved file: letters and hyphens. */
  readonly id: string;
  readonly title: string;
  /** Description of the chart for those who cannot see it. */
  readonly words: string;
  /** Text below the chart that says how to read it. */
  readonly caption: string;
  /** Marks, data and encodings; `framed` adds the style. */
  readonly chart: (palette: Palette) => Chart;
}

/** The picture as an element of a page. */
export async function pictureMarkup(picture: Picture): Promise<Html> {
  const svg = await chartSvg(withSafeText(framed(picture.chart(PAGE), PAGE)));
  const label = `role="img" aria-label="${escapeHtml(`${picture.title}. ${picture.words}`)}"`;
  // Drawings share a page, so the ids in them must differ.
  const unique = svg
    .replaceAll(/\bid="([a-z_]+\d+)"/g, `id="${picture.id}-$1"`)
    .replaceAll(/url\(#([a-z_]+\d+)\)/g, `url(#${picture.id}-$1)`);
  return trusted(compact(unique).replace("<svg ", () => `<svg ${label} `));
}

/** The picture as an SVG file with title and description. */
export async function pictureSvg(picture: Picture): Promise<string> {
  const svg = await chartSvg(fileChart(picture));
  const words = `<title>${escapeHtml(picture.title)}</title><desc>${escapeHtml(picture.words)}</desc>`;
  return svg.replace(/^<svg [^>]*>/, (start) => start + words);
}

/** The picture as a PNG file on white. */
export function picturePng(picture: Picture): Promise<Uint8Array> {
  return chartPng(fileChart(picture));
}

/**
 * The picture in the format of a file's ending.
 * @throws GpruneError BAD_ARGUMENT unless it ends with .svg or .png
 */
export async function pictureFile(picture: Picture, path: string): Promise<string | Uint8Array> {
  requirePictureName(path);
  return path.endsWith(".svg") ? pictureSvg(picture) : picturePng(picture);
}

/** @throws GpruneError BAD_ARGUMENT unless the name ends with .svg or .png */
export function requirePictureName(path: string): void {
  if (/\.(?:svg|png)$/.test(path)) return;
  throw badArgument("picture", "a name that ends with .svg or .png", path);
}

/** The specification of a picture file. */
function fileChart({ title, chart }: Picture): Chart {
  // As wide as title and legend need: a fitted width would cut them off.
  const frame = { title, background: "white", padding: 12, autosize: "pad" };
  return withSafeText(framed({ ...frame, ...chart(PAPER) }, PAPER));
}

/** The specification with every text in it made visible and usable as a key. */
function withSafeText(chart: Chart): Chart {
  const clean = (_key: string, value: unknown): unknown =>
    typeof value === "string" ? ordinaryKey(visible(value)) : value;
  return JSON.parse(JSON.stringify(chart, clean)) as Chart;
}

/**
 * The plotting library uses values as keys of plain objects, which inherit `__proto__` and `constructor`. A zero-width
 * space makes such a value an ordinary key.
 */
function ordinaryKey(text: string): string {
  return text in Object.prototype ? `${text}\u200b` : text;
}

/**
 * Removes parts of an SVG that have no effect on a page: empty paths, attributes that repeat defaults, roles inside an
 * image, the font that the style sheet sets, and decimals too fine to be seen.
 */
function compact(svg: string): string {
  return svg
    .replaceAll(/<path class="(?:fore|back)ground"[^>]*(?:d=""|d="M0,0h0v0h0Z")[^>]*\/>/g, "")
    .replaceAll(/ (?:pointer-events="none"|opacity="1"|(?:role|aria-[a-z]+)="[^"]*")/g, "")
    .replaceAll(/ (?:font-family="[^"]*"|class="mark-[^"]*")/g, "")
    .replaceAll(/ (?:transform|d|[xy]2?|width|height|viewBox)="[^"]*"/g, (attribute) =>
      attribute.replaceAll(/\d+\.\d{3,}/g, (number) => `${Number(Number(number).toFixed(2))}`),
    );
}
