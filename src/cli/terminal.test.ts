import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { pairs, shellWord, table } from "./terminal.ts";

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

describe("shellWord", () => {
  it.each(["s p/out", "it's", "$HOME/`a`;b", "~/x*", "", 'a"b\\c'])("comes out of a shell as %j", (text) => {
    expect(execFileSync("sh", ["-c", `printf %s ${shellWord(text)}`], { encoding: "utf8" })).toBe(text);
  });

  it("is left alone where a shell does nothing with it", () => {
    for (const text of ["demo/model", "hf://ORG/NAME@main", "./a-b_c.gguf"])
      expect(shellWord(text)).toBe(text);
  });
});
