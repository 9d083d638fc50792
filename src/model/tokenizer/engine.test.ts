import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { letterModel } from "../../../test/letter_model.ts";
import { CUT_NAMES } from "../../../test/word_cuts.ts";
import { directEngine, guardedEngine } from "./engine.ts";
import { isKnownExpression, wordCutByName } from "./pretokenizers.ts";
import { haveKnownExpressions } from "./steps.ts";
import { Tokenizer } from "./tokenizer.ts";

function split(regex: string): Readonly<Record<string, unknown>> {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

function replace(pattern: object, content: string): Readonly<Record<string, unknown>> {
  return { type: "Replace", pattern, content };
}

/** A tokenizer of the letters a to p with these steps. */
function letters(parts: Readonly<Record<string, unknown>>): Tokenizer {
  return Tokenizer.fromFiles(letterModel({}, parts).files);
}

const LETTERS = Object.fromEntries(Array.from("abcdefghijklmnop", (letter, id) => [letter, id]));
const json = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: split("[a-h]|[i-p]"),
  post_processor: null,
  decoder: null,
  model: { type: "WordLevel", vocab: LETTERS, unk_token: "p" },
};

describe("regular expressions of the file's own", () => {
  test("give the same ids and texts in a thread as in the process", () => {
    const direct = directEngine({ json, config: {} });
    const guarded = guardedEngine({ json, config: {} });
    expect(guarded.largestId).toBe(direct.largestId);
    expect(guarded.idOf("c")).toBe(2);
    expect(guarded.idOf("zz")).toBeUndefined();
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."abijp"), maxLength: 20 }), (text) => {
        const ids = direct.encodeSection(text, true);
        expect(guarded.encodeSection(text, true)).toEqual(ids);
        if (ids.length > 0) expect(guarded.decode(ids)).toBe(direct.decode(ids));
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  test("are not known, unlike those of the families", () => {
    expect(haveKnownExpressions([split("[a-h]|[i-p]")])).toBe(false);
    expect(
      haveKnownExpressions([{ type: "Sequence", normalizers: [replace({ Regex: "(a+)+$" }, "")] }]),
    ).toBe(false);
    for (const name of ["gpt-2", "llama-bpe", "qwen2", "gpt-4o", "tekken", "deepseek-v3", "smollm"]) {
      expect(haveKnownExpressions(wordCutByName(name, "x").steps)).toBe(true);
    }
    expect(isKnownExpression("toString")).toBe(false);
  });

  test.each([
    ["cuts words", { pre_tokenizer: split("(a+)+$") }],
    ["normalises", { normalizer: replace({ Regex: "(a|a)*$" }, "") }],
    ["is inside other steps", { pre_tokenizer: { type: "Sequence", pretokenizers: [split("(a*)*b")] } }],
  ])("that take for ever are stopped when one %s, and nothing is asked of the thread again", (_, parts) => {
    const times = { build: 60_000, call: 1000, character: 0 };
    const model = { ...json.model, type: "BPE", merges: [] };
    const engine = guardedEngine({ json: { ...json, ...parts, model }, config: {} }, times);
    const failure = expect.objectContaining({
      code: "UNSUPPORTED",
      message: "tokenizer.json: expected the text to be tokenized within 1.0 s, got no result",
    });
    const encode = (text: string): unknown => engine.encodeSection(engine.normalized(text), true);
    expect(() => encode(`${"a".repeat(40)}c`)).toThrow(failure);
    expect(() => encode("b")).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
  });

  test("are run in a thread, whichever file they come from", () => {
    const model = letterModel({}, { pre_tokenizer: split("(a+)+$") });
    const origin = { name: "some/model", format: "hf", dtype: "F32" } as const;
    const tokenizer = Tokenizer.of({ ...model, origin });
    expect([...tokenizer.encode("b")]).toEqual([1]);
    const slow = (): unknown => tokenizer.encode(`${"a".repeat(40)}c`);
    const message =
      "some/model: tokenizer.json: expected the text to be tokenized within 10.0 s, got no result";
    expect(slow).toThrow(message);
    expect(slow).toThrow(message);
  });

  test("leave no thread behind where the library cannot build the tokenizer", async () => {
    const threads = (): number =>
      (process.report.getReport() as { workers: readonly unknown[] }).workers.length;
    const before = threads();
    for (let i = 0; i < 3; i++)
      expect(() => guardedEngine({ json: {}, config: {} })).toThrow("got Tokenizer");
    await vi.waitFor(() => expect(threads()).toBeLessThanOrEqual(before));
  });

  test("that are no expressions are refused", () => {
    expect(() => letters({ pre_tokenizer: split("(") })).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringContaining("expected a known tokenizer"),
      }),
    );
  });
});

test.each(["a", "\u3042", " ", "\n", "'", "1", "-", "a1", " \n", "A", "\u0301", "aA"])(
  "the known expressions come to an end on a long text of %j",
  (unit) => {
    const text = `${unit.repeat(20_000)}!`;
    for (const name of CUT_NAMES) {
      const { steps, normalizer } = wordCutByName(name, "x");
      const pre_tokenizer = { type: "Sequence", pretokenizers: steps };
      const engine = directEngine({ json: { ...json, normalizer, pre_tokenizer }, config: {} });
      expect(engine.encodeSection(engine.normalized(text), true).length).toBeGreaterThan(0);
    }
  },
);

test("a word without a token is refused, not taken for another, where there is none for unknown words", () => {
  const tokenizer = letters({ model: { ...json.model, unk_token: "?" } });
  expect([...tokenizer.encode("a b p")]).toEqual([0, 1, 15]);
  expect(() => tokenizer.encode("a z")).toThrow(
    expect.objectContaining({ code: "BAD_TEXT", message: expect.stringContaining("without a token") }),
  );
});

test.each([-1, 100])("neither is an id for unknown words that the vocabulary does not have: %s", (unk_id) => {
  const model = { type: "Unigram", vocab: Object.keys(LETTERS).map((letter) => [letter, -1]), unk_id };
  const tokenizer = letters({ pre_tokenizer: null, model });
  expect([...tokenizer.encode("ab")]).toEqual([0, 1]);
  expect(() => tokenizer.encode("z")).toThrow(expect.objectContaining({ code: "BAD_TEXT" }));
});

test("ids of no token are no text", () => {
  const decoder = replace({ String: "a" }, "b");
  const tokenizer = letters({ decoder, model: { type: "WordLevel", vocab: LETTERS } });
  expect(tokenizer.decode([0, 16, 1, 2 ** 24])).toBe("bb");
  expect(tokenizer.decode([16])).toBe("");
});

test("what the library fails at is not supported, in a thread as in the process", () => {
  const decoder = replace({ String: "a" }, "b");
  const strange = { ...json, decoder, model: { ...json.model, type: "BPE", merges: [], unk_token: {} } };
  for (const engine of [directEngine, guardedEngine]) {
    const { decode } = engine({ json: strange, config: {} });
    expect(decode([0, 1])).toBe("bb");
    expect(() => decode([16])).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringMatching(/^tokenizer\.json: expected a known tokenizer, got .*replaceAll/),
      }),
    );
  }
});

describe("steps that lengthen texts", () => {
  test.each([
    ["replace nothing by something long", [replace({ String: "" }, "x".repeat(1000))], "1001-fold"],
    ["replace a character by many", [replace({ String: "a" }, "a".repeat(17))], "17-fold"],
    ["multiply each other", Array(30).fill(replace({ String: "a" }, "aa")), "1073741824-fold"],
    ["put something long before", [{ type: "Prepend", prepend: "x".repeat(16) }], "17-fold"],
    ["replace matches", [replace({ Regex: "." }, "x".repeat(16))], "17-fold"],
  ])("are refused when they %s", (_, normalizers, got) => {
    const message = `tokenizer.json: expected steps that lengthen a text at most 16-fold, got ${got}`;
    expect(() => letters({ normalizer: { type: "Sequence", normalizers } })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message }),
    );
  });

  test("are those of real tokenizers and below the limit", () => {
    const prepend = { type: "Prepend", prepend: "▁" };
    const normalizers = [prepend, replace({ String: " " }, "▁"), replace({ Regex: " {2,}" }, " ")];
    expect(haveKnownExpressions([{ type: "Sequence", normalizers }])).toBe(false);
  });

  test("need a pattern that is one", () => {
    for (const pattern of [{}, null, undefined, { Regex: 1 }, "a"]) {
      expect(() => letters({ normalizer: replace(pattern as object, "x") })).toThrow(
        expect.objectContaining({ code: "BAD_FILE" }),
      );
    }
  });
});
