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
