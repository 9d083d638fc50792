import { describe, expect, test } from "vitest";
import type { Question } from "./task_documents.ts";
import { TASK_LAYOUTS } from "./task_layouts.ts";

const CHOICES = { text: ["sun", "moon"], label: ["A", "B"] };

/** The question that a record's layout makes of it. */
function question(record: Readonly<Record<string, unknown>>): Question {
  const layout = TASK_LAYOUTS.find(({ fields }) => fields.every((field) => field in record))!;
  const result = layout.question.safeParse(record);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new Error(`${path.join(".")}: ${message}`);
}

/** The candidates of a question as texts, with `|` before the scored part. */
function lines(record: Readonly<Record<string, unknown>>): readonly string[] {
  const { candidates, gold } = question(record);
  return candidates.map(
    ({ context, delimiter, answer }, i) => `${context}|${delimiter}${answer}${i === gold ? " *" : ""}`,
  );
}

// The prompts are those that lm_eval 0.4.13 builds from the same records.
describe("published layouts", () => {
  test.each<[string, Readonly<Record<string, unknown>>, readonly string[]]>([
    [
      "arc",
      { id: "x", question: "What shines?", choices: CHOICES, answerKey: "A" },
      ["Question: What shines?\nAnswer:| sun *", "Question: What shines?\nAnswer:| moon"],
    ],
    [
      "arc with numbers as labels",
      { question: "Q", choices: { text: ["x", "y"], label: ["1", "2"] }, answerKey: "2" },
      ["Question: Q\nAnswer:| x", "Question: Q\nAnswer:| y *"],
    ],
    [
      "openbook_qa",
      { question_stem: "At night shines the", choices: CHOICES, answerKey: " B" },
      ["At night shines the| sun", "At night shines the| moon *"],
    ],
    [
      "piqa",
      { goal: "Boil water", sol1: "heat it", sol2: "cool it", label: 0 },
      ["Question: Boil water\nAnswer:| heat it *", "Question: Boil water\nAnswer:| cool it"],
    ],
    [
      "hellaswag",
      {
        activity_label: "Baking",
        ctx_a: "[header] How to bake [title] Mix it.",
        ctx_b: "THEN the cook",
        ctx: "unused",
        endings: ["[step] eats.", "sleeps  well."],
        label: "1",
      },
      [
        "Baking: How to bake. Mix it. Then the cook|  eats.",
        "Baking: How to bake. Mix it. Then the cook| sleeps well. *",
      ],
    ],
    [
      "winogrande",
      { sentence: "Ann thanked Eve since _ had helped.", option1: "Ann", option2: "Eve", answer: "2" },
      ["Ann thanked Eve since Ann| had helped.", "Ann thanked Eve since Eve| had helped. *"],
    ],
    [
      "winogrande with a gap before no space",
      { sentence: "Ann took _'s hat.", option1: "Eve", option2: "Ida", answer: "1" },
      ["Ann took Eve| 's hat. *", "Ann took Ida| 's hat."],
    ],
    [
      "boolq",
      { question: "is it so", title: "T", answer: true, passage: "It is so." },
      ["It is so.\nQuestion: is it so?\nAnswer:| no", "It is so.\nQuestion: is it so?\nAnswer:| yes *"],
    ],
    [
      "boolq of SuperGLUE",
      { question: "is it so", passage: "P", idx: 0, label: 0 },
      ["P\nQuestion: is it so?\nAnswer:| no *", "P\nQuestion: is it so?\nAnswer:| yes"],
    ],
    ["lambada", { text: "She went home.\nHe did not go" }, ["She went home.\nHe did not| go *"]],
  ])("%s", (_, record, expected) => {
    expect(lines(record)).toEqual(expected);
  });

  test.each<[string, Readonly<Record<string, unknown>>, string]>([
    ["no right answer", { goal: "g", sol1: "a", sol2: "b", label: -1 }, "label: 0 or 1"],
    [
      "an empty right answer",
      { activity_label: "a", ctx_a: "b", ctx_b: "c", endings: ["x", "y"], label: "" },
      "label: the index of the right answer",
    ],
    [
      "an unknown letter",
      { question: "q", choices: CHOICES, answerKey: "C" },
      "answerKey: one of the labels of choices",
    ],
    [
      "no gap",
      { sentence: "Ann had helped.", option1: "Ann", option2: "Eve", answer: "1" },
      "sentence: a sentence with a gap (_) and text after it",
    ],
    ["an empty answer", { goal: "g", sol1: "a", sol2: "", label: 0 }, "sol2: a non-empty text"],
    ["a truth of more than one", { question: "q", passage: "P", label: 2 }, "label: true or false"],
    ["an unknown truth", { question: "q", passage: "P", label: -1 }, "label: true or false"],
    ["a label beyond the choices", { goal: "g", sol1: "a", sol2: "b", label: 2 }, "label: 0 or 1"],
    ["one word", { text: "word" }, "text: a text of at least two words that ends with a word"],
  ])("refuse %s", (_, record, message) => {
    expect(() => question(record)).toThrow(message);
  });

  test("cost time in proportion to the text", () => {
    const ending = "[".repeat(200_000);
    const record = { activity_label: "a", ctx_a: ending, ctx_b: "c", endings: [ending, "y"], label: 1 };
    expect(question(record).candidates[0]!.answer).toHaveLength(ending.length);
  });
});
