import { describe, expect, test } from "vitest";
import { hasLongWord, isQuick } from "./word_limits.ts";

describe("hasLongWord", () => {
  test("finds stretches that are longer than the limit, wherever they begin", () => {
    for (const before of [0, 1, 7, 10, 13]) {
      for (const letter of ["x", " "]) {
        const around = letter === " " ? "y" : " ";
        const text = (length: number): string =>
          "a b ".repeat(5).slice(0, before) + around + letter.repeat(length) + around + "c d".repeat(5);
        expect([before, letter, hasLongWord(text(11), 10)]).toEqual([before, letter, true]);
        expect([before, letter, hasLongWord(text(10), 10)]).toEqual([before, letter, false]);
      }
    }
    expect(hasLongWord("", 10)).toBe(false);
  });
});

describe("isQuick", () => {
  const file = (model: object) => ({ model });

  test("is false for what takes long words of its own accord", () => {
    expect(isQuick(file({ type: "BPE" }), null)).toBe(true);
    expect(isQuick(file({ type: "WordPiece" }), null)).toBe(true);
    expect(isQuick(file({ type: "WordPiece", max_input_chars_per_word: 1e9 }), null)).toBe(false);
    expect(isQuick(file({ type: "Unigram" }), ["a", "b".repeat(100)])).toBe(true);
    expect(isQuick(file({ type: "Unigram" }), ["a", "b".repeat(1000)])).toBe(false);
  });
});
