import { describe, expect, test } from "vitest";
import { html, trusted } from "./html.ts";
import { shortName, visible } from "./text.ts";

describe("html", () => {
  test("escapes what is put in, unless it is markup", () => {
    const part = html`<b title="${"\"&'"}">${"<i>"}${7}${null}${false}</b>`;
    expect(part.markup).toBe('<b title="&quot;&amp;&#39;">&lt;i&gt;7</b>');
    expect(html`<p>${[part, "&", trusted("<br>")]}</p>`.markup).toBe(`<p>${part.markup}&amp;<br></p>`);
  });
});

describe("visible", () => {
  test("shows what cannot be seen and leaves the rest", () => {
    expect(visible("a\u0000b\u202ec\nd\ud800")).toBe("a\\u0000b\\u202ec\\u000ad\\ud800");
    expect(visible("größe 字 😀")).toBe("größe 字 😀");
  });
});

describe("shortName", () => {
  test.each([
    ["org/name", "name"],
    ["/x/SmolLM2.Q4_1.gguf", "SmolLM2.Q4_1"],
    ["demo/model/", "demo/model"],
    ["model", "model"],
    ["C:\\models\\Big", "Big"],
    ["/", "/"],
  ])("of %s is %s", (path, name) => {
    expect(shortName(path)).toBe(name);
  });
});
