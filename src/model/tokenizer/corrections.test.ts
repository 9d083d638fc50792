import { expect, test } from "vitest";
import { Tokenizer } from "./tokenizer.ts";

/** Whether a normalizer makes one text of another, as a vocabulary of whole texts shows. */
function makes(normalizer: object, from: string, to: string): boolean {
  const model = { type: "WordLevel", vocab: { [to]: 0, other: 1 }, unk_token: "other" };
  const bytes = Buffer.from(JSON.stringify({ normalizer, model }));
  return Tokenizer.fromFiles([{ name: "tokenizer.json", bytes }]).encode(from)[0] === 0;
}

test.each([
  [{ strip_left: true, strip_right: true }, "\ufeff a b"],
  [{ strip_left: true, strip_right: false }, "\ufeff a b\u0085 "],
  [{ strip_left: false, strip_right: true }, "\u0085 \ufeff a b"],
  [{ strip_left: false, strip_right: false }, "\u0085 \ufeff a b\u0085 "],
])("Strip removes white space as Unicode has it: %j", (sides, expected) => {
  expect(makes({ type: "Strip", ...sides }, "\u0085 \ufeff a b\u0085 ", expected)).toBe(true);
});

test.each([
  { type: "Lowercase" },
  { type: "BertNormalizer", lowercase: true, strip_accents: false },
  { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Lowercase" }] },
])("letters become small one by one, as in tokenizers: %j", (normalizer) => {
  expect(makes(normalizer, "ΟΔΟΣ ΆΣ", "οδοσ άσ")).toBe(true);
});

test("Replace gives the text in the file, dollar signs and all", () => {
  const replace = { type: "Replace", pattern: { Regex: "(x)" }, content: "$1$&" };
  expect(makes({ type: "Sequence", normalizers: [replace] }, "axb", "a$1$&b")).toBe(true);
});

/** Expected pieces are those of tokenizers 0.23.3. */
test.each([
  ["(?i:'s|'t|'re|'ve|'m|'ll|'d)|\\p{L}+", "aſ'ſa\u212a'S", ["aſ", "'ſ", "a\u212a", "'S"]],
  ["'(?i:[sdmt]|ll)", "a'ſs", ["a", "'ſ", "s"]],
  ["(?i:[a-m]+)s", "kKa\u212asaſ", ["kKa\u212as", "aſ"]],
  ["(?i:(x|k)\\s)s", "xſ\u212a s\u212a ſ", ["xſ", "\u212a s", "\u212a ſ"]],
])("%s knows the long s and the Kelvin sign where case does not count", (regex, text, pieces) => {
  const vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]));
  const pre_tokenizer = { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
  const json = { pre_tokenizer, model: { type: "WordLevel", vocab } };
  const tokenizer = Tokenizer.fromFiles([
    { name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) },
  ]);
  expect([...tokenizer.encode(text)].map((id) => pieces[id])).toEqual(pieces);
});
