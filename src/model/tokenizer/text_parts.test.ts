import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CUT_NAMES } from "../../../test/word_cuts.ts";
import { wordCutByName } from "./pretokenizers.ts";
import { type Parting, partingOf, partsOf } from "./text_parts.ts";
import { Tokenizer } from "./tokenizer.ts";

/** Bytes as the byte alphabet writes them. */
const LETTERS = ["a", "b", "Ã", "©", "Ġ", "Ċ", "ĉ", "1", ".", "'", "s", "Ì", "ģ", "ã", "Ģ", "Ĥ"];
const TEXT = fc
  .array(fc.constantFrom(..."ab1.'s \n\té", "\u0301", "\u3002", "<m>", "  ", " a"), { maxLength: 40 })
  .map((units) => units.join(""));
const SIGNS = { type: "Replace", pattern: { String: " " }, content: "▁" };
const PREFIX = { type: "Prepend", prepend: "▁" };

interface Parts {
  readonly letters?: readonly string[];
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly added?: readonly { readonly content: string; readonly [flag: string]: unknown }[];
  /** Whether two letters may be one token. */
  readonly joins?: (pair: string) => boolean;
}

/** A tokenizer that joins any two letters inside a word, so that tokens say where words end. */
function tokenizerOf({
  letters = LETTERS,
  added = [{ content: "<m>" }],
  joins = () => true,
  ...steps
}: Parts) {
  const pairs = letters.flatMap((a) => letters.map((b) => [a, b] as const)).filter(([a, b]) => joins(a + b));
  const tokens = [...letters, ...pairs.map((pair) => pair.join("")), ...added.map(({ content }) => content)];
  const json = {
    normalizer: null,
    pre_tokenizer: null,
    ...steps,
    added_tokens: added.map((token) => ({ id: tokens.indexOf(token.content), special: true, ...token })),
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: pairs,
      unk_token: "a",
    },
  };
  const tokenizer = Tokenizer.fromFiles([
    { name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) },
  ]);
  return { json, tokenizer };
}

function expectSameTokens(tokenizer: Tokenizer, parting: Parting): void {
  fc.assert(
    fc.property(TEXT, fc.nat({ max: 8 }), (text, least) => {
      const ids = [...partsOf(text, parting, 1 + least)].flatMap((part) => [...tokenizer.encode(part)]);
      expect(ids).toEqual([...tokenizer.encode(text)]);
    }),
    { numRuns: 500, seed: 1 },
  );
}

test.each([...CUT_NAMES, "command-r"])("tokens of parts are those of the whole: %s", (name) => {
  const { steps, normalizer } = wordCutByName(name, "test");
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
  const pre_tokenizer = { type: "Sequence", pretokenizers: [...steps, byteLevel] };
  const { json, tokenizer } = tokenizerOf({ normalizer, pre_tokenizer });
  expectSameTokens(tokenizer, partingOf(json as never, () => false)!);
});

describe("tokens of parts are those of the whole, with space signs", () => {
  const letters = [..."ab1.'s\n\té\u3002▁"];
  const joins = (pair: string): boolean => !/[^▁]▁/.test(pair);
  const added = [{ content: "<m>", rstrip: true, lstrip: true }];

  test.each<[string, Parts]>([
    ["before every text", { normalizer: { type: "Sequence", normalizers: [PREFIX, SIGNS] } }],
    ["for spaces alone", { normalizer: SIGNS }],
    [
      "and a step that finds nothing",
      {
        normalizer: SIGNS,
        pre_tokenizer: {
          type: "Split",
          pattern: { String: " " },
          behavior: "MergedWithPrevious",
          invert: false,
        },
      },
    ],
    ...["first", "always", "never"].map((prepend_scheme): [string, Parts] => [
      `made by Metaspace, before texts ${prepend_scheme}`,
      { pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme, split: false } },
    ]),
  ])("%s", (_, parts) => {
    for (const tokens of [[{ content: "<m>" }], added]) {
      const { json, tokenizer } = tokenizerOf({ letters, joins, added: tokens, ...parts });
      expectSameTokens(tokenizer, partingOf(json as never, () => true)!);
    }
  });
});

test("texts stay whole where steps or tokens may lie across a cut", () => {
  const parting = (parts: object, endsAtSpaces = true): Parting | null =>
    partingOf(
      { normalizer: null, pre_tokenizer: null, added_tokens: [], ...parts } as never,
      () => endsAtSpaces,
    );
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  expect(parting({ pre_tokenizer: byteLevel })).not.toBeNull();
  expect(parting({ pre_tokenizer: { ...byteLevel, add_prefix_space: true } })).toBeNull();
  expect(parting({ pre_tokenizer: byteLevel, normalizer: { type: "Lowercase" } })).toBeNull();
  expect(parting({ normalizer: SIGNS })).not.toBeNull();
  expect(parting({ normalizer: SIGNS }, false)).toBeNull();
  expect(parting({ normalizer: { type: "Sequence", normalizers: [SIGNS, PREFIX] } })).toBeNull();
  expect(parting({})).toBeNull();
  for (const content of ["word", "a b", "a\n", " a", "▁a", "<m>a"]) {
    expect(parting({ pre_tokenizer: byteLevel, added_tokens: [{ content }] })).toBeNull();
  }
});

test("a long text is encoded in parts, and loses nothing", () => {
  const { json, tokenizer } = tokenizerOf({ pre_tokenizer: { type: "ByteLevel", use_regex: true } });
  const text = "ab 1\n\n.as  b".repeat(10_000);
  const parts = [...partsOf(text, partingOf(json as never, () => false)!)];
  expect(parts.length).toBeGreaterThan(3);
  expect(parts.join("")).toBe(text);
  expect([...tokenizer.encode(text)]).toEqual(parts.flatMap((part) => [...tokenizer.encode(part)]));
  const [first, second] = parts.map((part) => tokenizer.encode(part));
  expect(tokenizer.encode(text, first!.length)).toEqual(first);
  expect(tokenizer.encode(text, first!.length + 1)).toEqual(Int32Array.from([...first!, ...second!]));
});
