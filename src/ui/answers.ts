/** Error responses of the server: JSON for the page, HTML for what is opened in a tab of its own. */
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { html } from "../report/html.ts";
import type { Problem } from "./api.ts";

/** Prefix of paths that are opened in a tab of their own. */
const TABS = "/runs/";

/** Response with a problem: HTML below {@link TABS}, else JSON. */
export function problemAnswer(c: Context, problem: Problem, status: ContentfulStatusCode): Response {
  return c.req.path.startsWith(TABS) ? c.html(problemPage(problem), status) : c.json(problem, status);
}

function problemPage({ message, hint }: Problem): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>gprune cannot show this</title>
</head>
<body>
<main>
<h1>gprune cannot show this</h1>
${message.split("\n").map((line) => html`<p>${line}</p>`)}
${hint !== null && html`<p>${hint}</p>`}
</main>
</body>
</html>
`.markup;
}
