import { describe, expect, it } from "vitest";
import { pairs, table } from "./terminal.ts";

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
