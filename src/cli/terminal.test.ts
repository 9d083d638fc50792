import { describe, expect, it } from "vitest";
import { pairs, plainText, table } from "./terminal.ts";

describe("plainText", () => {
  it("shows control characters instead of sending them, and leaves lines, tabs and other scripts alone", () => {
    expect(plainText("\u001b[2J\u0007\r\u009b31m\u007f")).toBe("\\x1b[2J\\x07\\x0d\\x9b31m\\x7f");
    expect(plainText("a\tb\nü 名前 🦙")).toBe("a\tb\nü 名前 🦙");
  });
});

describe("table", () => {
  it("aligns the first column to the left and the others to the right, counting code points", () => {
    const rows = [
      ["text", "ppl", "windows"],
      ["🦙🦙", "12.5", "3"],
      ["a longer name", "7"],
    ];
    expect(table(rows).split("\n")).toEqual([
      "text            ppl  windows",
      "🦙🦙             12.5        3",
      "a longer name     7",
    ]);
  });

  it("of no rows is empty", () => {
    expect(table([])).toBe("");
  });
});

describe("pairs", () => {
  it("aligns what the names stand for", () => {
    expect(
      pairs([
        ["a", "first"],
        ["longer", "second"],
      ]),
    ).toBe("a       first\nlonger  second");
    expect(pairs([])).toBe("");
  });
});
