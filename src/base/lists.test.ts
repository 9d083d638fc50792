import { describe, expect, test } from "vitest";
import { firstFew, namesText, orList } from "./lists.ts";

const names = (count: number): readonly string[] => Array.from({ length: count }, (_, index) => `n${index}`);

describe("firstFew", () => {
  test("has all of a few and the first of many, with the number of the others", () => {
    expect(firstFew(names(8))).toEqual(names(8));
    expect(firstFew(names(70))).toEqual([...names(8), "and 62 more"]);
  });
});

describe("namesText", () => {
  test("joins names on one line, escapes control characters and lists at most eight", () => {
    expect(namesText(["web", "co\u001bde\n"])).toBe("web, co\\x1bde\\x0a");
    expect(namesText(names(9))).toBe("n0, n1, n2, n3, n4, n5, n6, n7, and 1 more");
  });
});

describe("orList", () => {
  test("joins words as a sentence does", () => {
    expect([0, 1, 2, 3].map((count) => orList(names(count)))).toEqual(["", "n0", "n0 or n1", "n0, n1 or n2"]);
  });
});
