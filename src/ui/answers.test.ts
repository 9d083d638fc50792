import { Hono } from "hono";
import { expect, test } from "vitest";
import { problemAnswer } from "./answers.ts";

const problem = { code: "NOT_FOUND", message: "run: expected one\ngot <b>none", hint: "Look again." };
const app = new Hono();
app.get("*", (c) => problemAnswer(c, problem, 404));

test("what is opened in a tab of its own says in a page why it is not there", async () => {
  const answer = await app.request("/runs/report?run=none");
  expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "text/html; charset=UTF-8"]);
  const text = await answer.text();
  for (const line of ["run: expected one", "got &lt;b&gt;none", "Look again."]) {
    expect(text).toContain(`<p>${line}</p>`);
  }
});

test("the page itself is told in JSON", async () => {
  const answer = await app.request("/api/state");
  expect([answer.status, await answer.json()]).toEqual([404, problem]);
});
