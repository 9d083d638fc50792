import { describe, expect, test } from "vitest";
import { notes } from "./common.ts";

describe("notes", () => {
  test("wraps paragraphs to the terminal and leaves examples whole", () => {
    const example = `  $ gprune prune ${"MODEL ".repeat(20).trim()}`;
    const text = notes(`\n${"one two\n".repeat(30).trim()}\n\nExamples:\n${example}\n${example}`)();
    const lines = text.split("\n");
    expect(Math.max(...lines.slice(0, -2).map(({ length }) => length))).toBeLessThanOrEqual(80);
    expect(lines.slice(-3)).toEqual(["Examples:", example, example]);
    expect(text.match(/one/g)).toHaveLength(30);
  });
});
