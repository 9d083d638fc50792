import { describe, expect, test } from "vitest";
import { type CardFields, cardFields, inheritedCard } from "./card_fields.ts";

function fieldsOf(...lines: readonly string[]): CardFields {
  return cardFields(Buffer.from(["---", ...lines, "---", "", "# Title"].join("\n")));
}

describe("cardFields", () => {
  test("takes licence and languages from the front matter, and nothing else", () => {
    expect(
      fieldsOf(
        "license: llama3.2",
        "license_name: A licence",
        "license_link: https://example.org/a",
        "language:",
        "  - en",
        "  - no",
        "base_model: org/other",
        "tags: [x]",
      ),
    ).toEqual({
      license: "llama3.2",
      license_name: "A licence",
      license_link: "https://example.org/a",
      language: ["en", "no"],
    });
    expect(cardFields(Buffer.from("\ufeff---\r\nlicense: mit\r\n---\r\n"))).toEqual({ license: "mit" });
    expect(cardFields(Buffer.from("---\nlicense: mit\n---"))).toEqual({ license: "mit" });
  });

  test("leaves out what is not plain strings or lists of them", () => {
    expect(fieldsOf("license: 3", "language: {a: b}", "license_link: [a]", "license_name: x")).toEqual({
      license_name: "x",
    });
    expect(fieldsOf("license: [mit, 3]", "language: []", 'license_name: "a\\u001b[31m"')).toEqual({});
    expect(fieldsOf('license: ""', 'license_link: "a\\nb"', 'license_name: "a\\u202eb"')).toEqual({});
    expect(fieldsOf(`license: ${"x".repeat(1001)}`)).toEqual({});
  });

  test("are what a model made from another inherits of its card", () => {
    const card = Buffer.from("---\nlicense: mit\ntags: [a]\n---\n# 1.2 billion parameters\n");
    expect(Buffer.from(inheritedCard(card).card!).toString()).toBe('---\nlicense: "mit"\n---\n');
    expect(inheritedCard(Buffer.from("# only text"))).toEqual({});
    expect(inheritedCard(undefined)).toEqual({});
  });

  test("fails for no card, whatever it holds", () => {
    const bomb = Array.from({ length: 30 }, (_, i) => {
      const alias = `*a${i - 1}`;
      return i === 0 ? "a0: &a0 [x, x]" : `a${i}: &a${i} [${alias}, ${alias}, ${alias}]`;
    });
    expect(fieldsOf("license: mit", ...bomb, "language: *a29")).toEqual({});
    expect(fieldsOf("license: mit", "license: x")).toEqual({});
    expect(fieldsOf("license: !!js/function mit")).toEqual({});
    expect(fieldsOf("{")).toEqual({});
    expect(fieldsOf("- license: mit")).toEqual({});
    expect(fieldsOf("license: mit", `x: ${"y".repeat(2 ** 16)}`)).toEqual({});
    expect(fieldsOf("__proto__: {license: mit}")).toEqual({});
    expect(cardFields(undefined)).toEqual({});
    expect(cardFields(Uint8Array.of(0xff, 0xfe))).toEqual({});
    expect(cardFields(Buffer.from("# no front matter\n---\nlicense: mit\n---\n"))).toEqual({});
  });
});
