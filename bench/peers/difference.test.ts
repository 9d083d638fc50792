import { expect, test } from "vitest";
import { differences } from "./difference.ts";

test("finds the largest difference of every result, relative to the value and to what is typical of its place", () => {
  const b = { scores: { first: [3, 4], second: [100, 100] }, ppl: { web: [20] } };
  const a = { scores: { first: [3, 4.5], second: [101, 100] }, ppl: { web: [20] }, more: { any: [1] } };
  const { scores, ppl, more } = differences(a, b);
  expect(scores!.ofItself).toBeCloseTo(0.125, 12);
  expect(scores!.ofTypical).toBeCloseTo(0.5 / Math.sqrt(12.5), 12);
  expect(ppl).toEqual({ ofTypical: 0, ofItself: 0 });
  expect(more).toBeUndefined();
});

test("zeros on both sides are no difference, numbers that are none are", () => {
  expect(differences({ x: { y: [0, 1] } }, { x: { y: [0, 1] } }).x).toEqual({ ofTypical: 0, ofItself: 0 });
  expect(differences({ x: { y: [Number.NaN, 1] } }, { x: { y: [1, 1] } }).x!.ofTypical).toBeNaN();
});

test("refuses results that are missing or of another length", () => {
  expect(() => differences({}, { x: { y: [1] } })).toThrow("x of y: expected 1 values, got none");
  expect(() => differences({ x: { y: [1, 2] } }, { x: { y: [1] } })).toThrow("expected 1 values, got 2");
});
