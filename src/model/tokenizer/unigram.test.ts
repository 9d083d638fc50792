import { describe, expect, test } from "vitest";
import type { CarriedFile } from "../model.ts";
import { Tokenizer } from "./tokenizer.ts";

const BYTES = Array.from({ length: 256 }, (_, byte) => {
  return [`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, 0] as const;
});
const PIECES = [
  ["<unk>", 0],
  ["▁", -2],
  ["a", -2.5],
  ["b", -2.6],
  ["▁a", -2.2],
  ["ab", -3],
  ["▁ab", -4],
  ["ba", -3.1],
  ...BYTES,
] as const;

function tokenizerOf(
  byte_fallback: boolean,
  parts: Readonly<Record<string, unknown>> = {},
  vocab: readonly (readonly [string, number])[] = PIECES,
): Tokenizer {
  const json = {
    added_tokens: [{ id: 0, content: "<unk>", special: true }],
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
    decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Metaspace" }] },
    ...parts,
    model: { type: "Unigram", unk_id: 0, vocab, byte_fallback },
  };
  const file: CarriedFile = { name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) };
  return Tokenizer.fromFiles([file]);
}

/** Ids from tokenizers 0.23.3: with byte fallback, and without. */
const TEXTS: readonly (readonly [string, readonly number[], readonly number[]])[] = [
  ["ab ba", [6, 1, 7], [6, 1, 7]],
  ["é", [1, 203, 177], [1, 0]],
  ["a é\n\nb", [4, 1, 203, 177, 18, 18, 3], [4, 1, 0, 3]],
  ["a🙂<unk>🙂", [4, 248, 167, 161, 138, 0, 1, 248, 167, 161, 138], [4, 0, 0, 1, 0]],
  ["  abab  ", [1, 6, 5, 1, 1], [1, 6, 5, 1, 1]],
];

describe("Unigram vocabularies", () => {
  test.each(TEXTS)("cut %j as tokenizers does", (text, bytes, unknown) => {
    expect([...tokenizerOf(true).encode(text)]).toEqual(bytes);
    expect([...tokenizerOf(false).encode(text)]).toEqual(unknown);
  });

  test("do so in a thread, beside regular expressions of the file's own", () => {
    const normalizer = { type: "Replace", pattern: { Regex: "x+" }, content: "é" };
    expect([...tokenizerOf(true, { normalizer }).encode("axx")]).toEqual([4, 203, 177]);
  });

  test("stay unknown where a byte has no piece", () => {
    const json = { model: { type: "Unigram", unk_id: 0, vocab: PIECES.slice(0, 9), byte_fallback: true } };
    const bytes = Buffer.from(JSON.stringify(json));
    expect([...Tokenizer.fromFiles([{ name: "tokenizer.json", bytes }]).encode("a\0é")]).toEqual([2, 0]);
  });

  test("take texts of any length, with spaces or with lines alone", () => {
    for (const text of ["ab ba\n".repeat(60_000), "abba\n".repeat(60_000)]) {
      expect(tokenizerOf(true).encode(text).length).toBeGreaterThan(120_000);
    }
    // A piece goes on after a space.
    const crossing = tokenizerOf(true, { pre_tokenizer: null }, [...PIECES, ["a▁b", -3]]);
    expect([...crossing.encode("a▁b\n".repeat(60_000)).slice(-2)]).toEqual([PIECES.length, 18]);
  });
});
