import { describe, expect, test } from "vitest";
import { parseTextSet } from "./text_sets.ts";

describe("parseTextSet", () => {
  test("guesses at a colon in place of the sign", () => {
    expect(() => parseTextSet("web:texts/web.txt", "--calib")).toThrow(
      expect.objectContaining({ hint: "Did you mean --calib web=texts/web.txt?" }),
    );
  });

  test.each([
    ["web=texts/web.txt", { name: "web", path: "texts/web.txt", weight: 1 }],
    ["code=src.jsonl:2", { name: "code", path: "src.jsonl", weight: 2 }],
    ["code=src.jsonl:0.25", { name: "code", path: "src.jsonl", weight: 0.25 }],
    ["a=dir/", { name: "a", path: "dir/", weight: 1 }],
    ["a=with space.txt", { name: "a", path: "with space.txt", weight: 1 }],
    ["a=b=c.txt", { name: "a", path: "b=c.txt", weight: 1 }],
    ["a=C:\\texts\\a.txt", { name: "a", path: "C:\\texts\\a.txt", weight: 1 }],
    ["a=C:\\texts\\a.txt:3", { name: "a", path: "C:\\texts\\a.txt", weight: 3 }],
    ["a=2024:10:2", { name: "a", path: "2024:10", weight: 2 }],
  ])("reads %s", (argument, expected) => {
    expect(parseTextSet(argument, "--calib")).toEqual(expected);
  });

  test.each(["", "web", "=web.txt", "web=", "a=b:0", "a=b:0.0", "a b=c.txt", "web.txt:2"])(
    "refuses %j",
    (argument) => {
      expect(() => parseTextSet(argument, "--calib", { weighted: true })).toThrow(
        expect.objectContaining({
          code: "BAD_ARGUMENT",
          message: `--calib: expected NAME=PATH[:WEIGHT], got ${JSON.stringify(argument)}`,
          hint: expect.stringContaining("--calib web=texts/web.txt"),
        }),
      );
    },
  );
});
