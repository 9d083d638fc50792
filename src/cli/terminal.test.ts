import { afterEach, describe, expect, test } from "vitest";
import { currentOutlet, pairs, printJsonLine, setOutlet, table } from "./terminal.ts";

describe("table", () => {
  test("aligns the first column to the left and the others to the right, counting code points", () => {
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

  test("of no rows is empty", () => {
    expect(table([])).toBe("");
  });
});

describe("printJsonLine", () => {
  const outlet = currentOutlet();
  afterEach(() => setOutlet(outlet));

  test("gives the value back to whoever parses the line, and nothing that steers a terminal", () => {
    const said: string[] = [];
    setOutlet({ ...outlet, out: (text) => void said.push(text) });
    const value = { text: "a\u0085b\u007fc\u001b[31md\ne\u202ef" };
    printJsonLine(value);
    expect(JSON.parse(said.join(""))).toEqual(value);
    expect(said.join("")).toMatch(/^[\x20-\x7e]+\n$/);
  });
});

describe("pairs", () => {
  test("aligns what the names stand for", () => {
    expect(
      pairs([
        ["a", "first"],
        ["longer", "second"],
      ]),
    ).toBe("a       first\nlonger  second");
    expect(pairs([])).toBe("");
  });
});
