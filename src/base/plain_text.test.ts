import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GpruneError } from "../errors.ts";
import { plainJson, plainName, plainText, shellWord } from "./plain_text.ts";

/** Ways to move a cursor, retitle a window, hide or reverse text. */
const PAYLOADS = [
  "\u001b]0;owned\u0007",
  "\u001b[2J\u001b[1;1H",
  "\u009b31m",
  "\u009d0;owned\u009c",
  "safe\r\u001b[Kevil",
  "\b\b\b",
  "\u202egnp.exe",
  "\u2066hidden\u2069",
  "\u200e\u200f\u061c",
  "nul\u0000del\u007f",
];
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const DANGEROUS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

describe("plainText, plainName and plainJson", () => {
  test.each(PAYLOADS)("take the force out of %j", (payload) => {
    expect(payload).toMatch(DANGEROUS);
    for (const safe of [plainText(payload), plainName(payload), plainJson({ [payload]: payload })]) {
      expect(safe).not.toMatch(DANGEROUS);
    }
  });

  test("leave other text alone, line breaks included", () => {
    const text = "Zürich ▁東京 😀\n\tעברית العربية";
    expect(plainText(text)).toBe(text);
    expect(plainText("\u001b[1m\u202e")).toBe("\\x1b[1m\\u202e");
  });

  test("a name stays on one line and is cut", () => {
    expect(plainName("a\nhint: run this\tnow\u2028")).toBe("a\\x0ahint: run this\\x09now\\u2028");
    expect(plainName("x".repeat(1e6))).toBe(`${"x".repeat(100)}...`);
    expect(plainName("x".repeat(100))).toBe("x".repeat(100));
  });

  test("JSON means the same after it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...PAYLOADS), (value, payload) => {
        const document = { value, [payload]: payload };
        expect(JSON.parse(plainJson(document))).toEqual(JSON.parse(JSON.stringify(document)));
        expect(plainJson(document)).not.toMatch(DANGEROUS);
      }),
      { numRuns: 100, seed: 1 },
    );
  });
});

test("an error's message has an end", () => {
  const { message } = new GpruneError("BAD_FILE", `x: ${"y".repeat(1e6)}`);
  expect(message.length).toBeLessThan(10_000);
  expect(message).toMatch(/^x: y+ \.\.\. \(992003 more characters\)$/);
});

describe("shellWord", () => {
  test.each(["s p/out", "it's", "$HOME/`a`;b", "~/x*", "", 'a"b\\c'])(
    "comes out of a shell as %j",
    (text) => {
      expect(execFileSync("sh", ["-c", `printf %s ${shellWord(text)}`], { encoding: "utf8" })).toBe(text);
    },
  );

  test("is left alone where a shell does nothing with it", () => {
    for (const text of ["demo/model", "hf://ORG/NAME@main", "./a-b_c.gguf"])
      expect(shellWord(text)).toBe(text);
  });
});
