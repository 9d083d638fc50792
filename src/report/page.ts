/**
 * The page around a report: one self-contained HTML file. Its content security policy allows one style sheet and one
 * script, by their hashes, and no requests; the script only sorts tables and saves figures.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { packageDirectory } from "../base/package.ts";
import { readSmallText } from "../io/files/file.ts";
import type { Section } from "./elements.ts";
import { type Html, html, trusted } from "./html.ts";

export interface Page {
  readonly title: string;
  readonly header: Html;
  readonly sections: readonly Section[];
}

/** The page as HTML text. */
export async function pageText({ title, header, sections }: Page): Promise<string> {
  const [style, script] = [await resource("report.css"), await resource("report.js")];
  const policy = [
    "default-src 'none'",
    `style-src '${hashOf(style)}'`,
    `script-src '${hashOf(script)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${trusted(style)}</style>
</head>
<body>
<a class="skip" href="#${sections[0]?.id ?? ""}">Skip to the report</a>
${header}
<nav aria-label="Sections">${sections.map(({ id, title: name }) => html`<a href="#${id}">${name}</a>`)}</nav>
<main>
${sections.map(
  ({ body }) => html`${body}
`,
)}</main>
<footer><p>Made by gprune. Everything on this page is in this file; it asks for nothing from anywhere.</p></footer>
<script>${trusted(script)}</script>
</body>
</html>
`;
  return page.markup;
}

const MAX_RESOURCE_BYTES = 2 ** 18;

function resource(name: string): Promise<string> {
  return readSmallText(join(packageDirectory(), "resources", name), MAX_RESOURCE_BYTES);
}

function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
