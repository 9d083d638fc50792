import { describe, expect, test } from "vitest";
import { type Computed, compare } from "./compare.ts";

/** Two positions, a vocabulary of three. */
const LOGITS = [1, 2, 3, 6, 5, 4];
const OURS: Computed = {
  answer: { generated: [2, 0, 1], tokenized: [1, 2], problems: [] },
  logits: Float32Array.from(LOGITS),
};

function computed(answer: Partial<Computed["answer"]>, logits: readonly number[] = LOGITS): Computed {
  return { answer: { ...OURS.answer, ...answer }, logits: Float32Array.from(logits) };
}

function problemsOf(theirs: Computed, exact: boolean): readonly string[] {
  return compare(OURS, theirs, { places: 2, exact }).problems;
}

describe("comparing a client with gprune", () => {
  test("measures", () => {
    const theirs = computed({ generated: [2, 0, 0] }, [1, 2.5, 2.25, 6, 5, 4]);
    expect(compare(OURS, theirs, { places: 2, exact: false })).toEqual({
      difference: 0.75,
      sameFirst: 0.5,
      sameGreedy: false,
      problems: [],
    });
  });

  test.each([1.9e-3, 0])("lets float32 logits differ by %s", (distance) => {
    expect(problemsOf(computed({}, LOGITS.with(1, 2 + distance)), true)).toEqual([]);
  });

  test("takes another tolerance", () => {
    const problems = (distance: number): readonly string[] =>
      compare(OURS, computed({}, LOGITS.with(1, 2 + distance)), { places: 2, exact: true, tolerance: 1e-2 })
        .problems;
    expect(problems(9e-3)).toEqual([]);
    expect(problems(1.1e-2)).toEqual(["logits differ by more than 0.01"]);
  });

  test.each([2.1e-3, Number.NaN, Number.POSITIVE_INFINITY])(
    "fails when float32 logits differ by %s",
    (distance) => {
      expect(problemsOf(computed({}, LOGITS.with(1, 2 - distance)), true)).toEqual([
        "logits differ by more than 0.002",
      ]);
    },
  );

  test("fails when a greedy token of float32 differs, or is missing", () => {
    expect(problemsOf(computed({ generated: [2, 0, 0] }), true)).toEqual(["greedy tokens differ"]);
    expect(problemsOf(computed({ generated: [2, 0] }), true)).toEqual(["greedy tokens differ"]);
  });

  test("fails when rounded weights choose other words", () => {
    expect(problemsOf(computed({}, [3, 2, 1, 4, 5, 6]), false)).toEqual([
      "the first token agrees in less than 25 % of places",
    ]);
  });

  test("fails when a text is cut otherwise, but not when the client cuts none", () => {
    expect(problemsOf(computed({ tokenized: [1, 3] }), false)).toEqual(["cuts the text into other tokens"]);
    expect(problemsOf(computed({ tokenized: null }), true)).toEqual([]);
  });

  test("keeps what the client found itself", () => {
    expect(problemsOf(computed({ problems: ["differs after saving"] }), true)).toEqual([
      "differs after saving",
    ]);
  });

  test("fails when the vocabulary has another size", () => {
    expect(problemsOf(computed({}, [1, 2, 3, 4]), false)).toEqual(["expected 6 logits, got 4"]);
  });
});
