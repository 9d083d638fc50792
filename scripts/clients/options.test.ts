import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import {
  headOf,
  isProgram,
  oneOf,
  positiveInteger,
  positiveIntegers,
  positiveNumber,
  threadsOf,
} from "./options.ts";

describe("values of options", () => {
  test.each(["0", "-1", "1.5", "", "x", "1e3"])("refuses %j where a positive integer is wanted", (text) => {
    expect(() => positiveInteger("rounds", text)).toThrow(
      `--rounds: expected a positive integer, got ${text}`,
    );
    expect(() => positiveIntegers("rounds", `2,${text}`)).toThrow("--rounds: expected a positive integer");
  });

  test.each(["0", "-1", "", "x", "1e999"])("refuses %j where a number above 0 is wanted", (text) => {
    expect(() => positiveNumber("scale", text)).toThrow(`--scale: expected a number above 0, got ${text}`);
  });

  test("reads integers, lists, numbers and names", () => {
    expect(positiveIntegers("threads", "1,12")).toEqual([1, 12]);
    expect(positiveNumber("store", "1e9")).toBe(1e9);
    expect([undefined, "3"].map(threadsOf)).toEqual([null, 3]);
    expect(oneOf("type", "b", ["a", "b"])).toBe("b");
    expect(() => oneOf("type", "c", ["a", "b"])).toThrow("--type: expected one of a, b, got c");
  });
});

test("a module is the program by whatever path it was started", async () => {
  const link = join(await temporaryDirectory(), "link");
  symlinkSync(import.meta.dirname, link);
  const own = import.meta.filename;
  for (const path of [own, join(link, "options.test.ts")]) expect(isProgram(own, ["node", path])).toBe(true);
  for (const path of [join(link, "options.ts"), join(link, "none")])
    expect(isProgram(own, ["node", path])).toBe(false);
  expect(isProgram(own, ["node"])).toBe(false);
});

describe("the head of a program", () => {
  test("is its first comment, without the stars", () => {
    expect(headOf('/**\n * Does it.\n *\n *   run it\n */\nimport "x";\n/** Other. */\n')).toBe(
      "Does it.\n\n  run it",
    );
    expect(headOf('import "x";\n/** Not at the head. */\n')).toBe("");
  });

  test("says how this repository's benchmarks are run", () => {
    const source = readFileSync(join(import.meta.dirname, "..", "..", "bench", "fuzz.ts"), "utf8");
    expect(headOf(source)).toMatch(/\n {2}node --import tsx bench\/fuzz[.]ts \[--inputs /);
  });
});
