import { expect, test } from "vitest";
import { differences } from "./json_difference.ts";

test("equal values do not differ, whatever the order of their keys", () => {
  expect(differences({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 })).toEqual([]);
});

test("every difference has its path and both values", () => {
  const before = { seed: 0, sets: { web: "aa", code: "bb" }, list: [1], empty: {} };
  const now = { seed: 1, sets: { web: "aa", math: "cc" }, list: [1, 2], empty: { x: true } };
  expect(differences(before, now)).toEqual([
    "seed: 1 instead of 0",
    'sets.code: nothing instead of "bb"',
    "empty: nothing instead of {}",
    'sets.math: "cc" instead of nothing',
    "list.1: 2 instead of nothing",
    "empty.x: true instead of nothing",
  ]);
});

test("a long list ends early, and long values are cut", () => {
  const before = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`k${i}`, "x".repeat(100)]));
  const lines = differences(before, {});
  expect(lines).toHaveLength(9);
  expect(lines[0]).toBe(`k0: nothing instead of "${"x".repeat(59)}...`);
  expect(lines.at(-1)).toBe("and 4 more");
});

test("hashes are shown by how they begin", () => {
  const [before, now] = ["ab".repeat(32), "0".repeat(64)];
  expect(differences({ texts: before }, { texts: now })).toEqual([
    "texts: 000000000000... instead of abababababab...",
  ]);
});
