import { describe, expect, test } from "vitest";
import { Tokenizer } from "./tokenizer.ts";

const LETTERS = ["a", "b", "Ġ", "Ċ", "Â", "ħ", "ï", "»", "¿", "Ġa", "<m>", "  ", ..."▁AéX<>m", "▁a"];
const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, use_regex: true };

interface Parts {
  readonly step?: object;
  readonly normalizer?: object | null;
  readonly spaces?: boolean;
}

const START_MARKED = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true };

/** The pieces of a text, by a vocabulary with the token `<m>` or another and, perhaps, two spaces. */
function piecesOf(
  text: string,
  flags: object,
  { step = BYTE_LEVEL, normalizer = null, spaces = false }: Parts = {},
): readonly string[] {
  const added = [{ content: "<m>", ...flags }, ...(spaces ? [{ content: "  " }] : [])];
  const json = {
    added_tokens: added.map((token) => ({
      id: LETTERS.indexOf(token.content),
      special: true,
      normalized: false,
      ...token,
    })),
    normalizer,
    pre_tokenizer: step,
    post_processor: null,
    decoder: null,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(LETTERS.map((letter, id) => [letter, id])),
      merges: [
        ["Ġ", "a"],
        ["▁", "a"],
      ],
    },
  };
  const file = { name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) };
  return [...Tokenizer.fromFiles([file]).encode(text)].map((id) => LETTERS[id]!);
}

const NEXT_LINE = ["Â", "ħ"];
const NO_BREAK = ["ï", "»", "¿"];

/** Expected pieces are those of tokenizers 0.23.3. */
describe("white space as Unicode has it", () => {
  const tokens = [
    ["in the text", { normalized: false }, null],
    ["in a text that is not normalised", { normalized: true }, null],
    ["in the normalised text", { normalized: true }, { type: "NFC" }],
  ] as const;

  test.each([
    [
      "before an added token",
      { lstrip: true },
      ["a", "<m>", ...NEXT_LINE, "b"],
      ["a", ...NO_BREAK, "<m>", ...NO_BREAK, "b"],
    ],
    [
      "behind an added token",
      { rstrip: true },
      ["a", ...NEXT_LINE, "<m>", "b"],
      ["a", ...NO_BREAK, "<m>", ...NO_BREAK, "b"],
    ],
    [
      "nowhere",
      {},
      ["a", ...NEXT_LINE, "<m>", ...NEXT_LINE, "b"],
      ["a", ...NO_BREAK, "<m>", ...NO_BREAK, "b"],
    ],
  ])("is taken up %s", (_, flags, nextLine, noBreak) => {
    for (const [where, found, normalizer] of tokens) {
      const pieces = (text: string) => piecesOf(text, { ...flags, ...found }, { normalizer });
      expect(pieces("a\u0085<m>\u0085b"), where).toEqual(nextLine);
      expect(pieces("a\ufeff<m>\ufeffb"), where).toEqual(noBreak);
    }
  });

  test("is taken up as far as there is any, and between two tokens", () => {
    const both = { lstrip: true, rstrip: true };
    expect(piecesOf("a \n <m> \u0085 <m>\n\nb ", both)).toEqual(["a", "<m>", "<m>", "b", "Ġ"]);
    expect(piecesOf(" <m> ", both)).toEqual(["<m>"]);
    const spaces = " ".repeat(100_000);
    expect(piecesOf(`${spaces}a${spaces}<m>`, both)).toHaveLength(100_001);
    expect(piecesOf(`<m>${spaces}a`, both, { spaces: true })).toHaveLength(50_002);
  });

  test("stays where it is a token itself", () => {
    expect(piecesOf("a  <m>", { lstrip: true }, { spaces: true })).toEqual(["a", "  ", "<m>"]);
  });

  test("is put before the text alone, not between the halves of a character", () => {
    const step = { ...BYTE_LEVEL, add_prefix_space: true };
    // Its bytes are in no token of this vocabulary.
    expect(piecesOf("a😀a", {}, { step })).toEqual(["Ġa", "a"]);
    expect(piecesOf("😀 a", {}, { step })).toEqual(["Ġ", "Ġa"]);
  });

  test("ends words behind a space that is put before the text", () => {
    const step = { ...BYTE_LEVEL, add_prefix_space: true };
    expect(piecesOf("a\ufeff a", {}, { step })).toEqual(["Ġa", ...NO_BREAK, "Ġa"]);
    expect(piecesOf("a\u0085 a<m> a<m>a", {}, { step })).toEqual([
      "Ġa",
      ...NEXT_LINE,
      "Ġa",
      "<m>",
      "Ġa",
      "<m>",
      "Ġa",
    ]);
  });
});

describe("added tokens", () => {
  const lowercase = { type: "Lowercase" };
  const normalized = { normalized: true };

  test.each([
    ["a<M>b", normalized, lowercase, ["a", "<m>", "b"]],
    ["a<M>b<m>", {}, lowercase, ["a", "<", "m", ">", "b", "<m>"]],
    [
      "aXb",
      { ...normalized, content: "X" },
      { type: "Replace", pattern: { String: "X" }, content: "" },
      ["a", "b"],
    ],
    ["ae\u0301b", { ...normalized, content: "é" }, { type: "NFC" }, ["a", "é", "b"]],
    ["é", { content: "é" }, { type: "NFD" }, ["é"]],
  ])("are found in %j with %j after %j", (text, flags, normalizer, pieces) => {
    expect(piecesOf(text, flags, { normalizer })).toEqual(pieces);
  });

  test.each([
    ["a<m>a", lowercase, ["▁a", "<m>", "a"]],
    ["A<M>a a", lowercase, ["▁a", "<m>", "a", "▁a"]],
    ["<m>a", lowercase, ["<m>", "a"]],
    [" a", lowercase, ["▁a"]],
    ["a a", { type: "Strip" }, ["▁a", "▁a"]],
    [" a a", { type: "Strip" }, ["a", "▁a"]],
    ["\u0085a", { type: "Strip" }, ["a"]],
    ["Xa", { type: "Replace", pattern: { String: "X" }, content: "" }, ["a"]],
    ["aX", { type: "Replace", pattern: { String: "X" }, content: "" }, ["▁a"]],
  ])("leave the mark of the text's start in %j where it is with %j", (text, normalizer, pieces) => {
    expect(piecesOf(text, normalized, { step: START_MARKED, normalizer })).toEqual(pieces);
  });
});
