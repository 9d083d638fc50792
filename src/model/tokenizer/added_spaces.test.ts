import { describe, expect, test } from "vitest";
import { Tokenizer } from "./tokenizer.ts";

const LETTERS = ["a", "b", "Ġ", "Ċ", "Â", "ħ", "ï", "»", "¿", "Ġa", "<m>", "  "];
const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, use_regex: true };

/** The pieces of a text, by a byte-level vocabulary with the tokens `<m>` and, perhaps, two spaces. */
function piecesOf(
  text: string,
  flags: object,
  { step = BYTE_LEVEL, spaces = false } = {},
): readonly string[] {
  const added = [{ content: "<m>", ...flags }, ...(spaces ? [{ content: "  " }] : [])];
  const json = {
    added_tokens: added.map((token) => ({
      id: LETTERS.indexOf(token.content),
      special: true,
      normalized: false,
      ...token,
    })),
    normalizer: null,
    pre_tokenizer: step,
    post_processor: null,
    decoder: null,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(LETTERS.map((letter, id) => [letter, id])),
      merges: [["Ġ", "a"]],
    },
  };
  const file = { name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) };
  return [...Tokenizer.fromFiles([file]).encode(text)].map((id) => LETTERS[id]!);
}

const NEXT_LINE = ["Â", "ħ"];
const NO_BREAK = ["ï", "»", "¿"];

/** Expected pieces are those of tokenizers 0.23.3. */
describe("white space as Unicode has it", () => {
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
    expect(piecesOf("a\u0085<m>\u0085b", flags)).toEqual(nextLine);
    expect(piecesOf("a\ufeff<m>\ufeffb", flags)).toEqual(noBreak);
  });

  test("is taken up as far as there is any, and between two tokens", () => {
    const both = { lstrip: true, rstrip: true };
    expect(piecesOf("a \n <m> \u0085 <m>\n\nb ", both)).toEqual(["a", "<m>", "<m>", "b", "Ġ"]);
    expect(piecesOf(" <m> ", both)).toEqual(["<m>"]);
    const spaces = " ".repeat(100_000);
    expect(piecesOf(`${spaces}a${spaces}<m>`, both)).toHaveLength(100_001);
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
