import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { GgufValue } from "../../io/formats/gguf_header.ts";
import { GgufMetadata } from "../../io/formats/gguf_metadata.ts";
import { mergesOfPieces } from "../tokenizer/sentencepiece.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type GgufTokenizerOptions, tokenizerFilesOfGguf } from "./tokenizer.ts";

interface Ids {
  readonly ids: Readonly<Record<string, readonly (readonly number[])[]>>;
}
interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
}
/** Token ids from tokenizers (Rust), made by scripts/make-tokenizer-fixtures.py. */
const fixture: {
  readonly texts: readonly string[];
  readonly byteLevel: Vocabulary & Ids & { readonly merges: readonly string[] };
  readonly sentencePiece: Vocabulary &
    Ids & {
      readonly scores: readonly number[];
      readonly decoded: Readonly<Record<string, readonly string[]>>;
    };
} = JSON.parse(readFileSync(new URL("../../../test/fixtures/tokenizers.json", import.meta.url), "utf8"));
const { texts, byteLevel, sentencePiece } = fixture;

const OPTIONS: GgufTokenizerOptions = { path: "a.gguf", mergeOrder: "score", maxLength: 64 };

function convert(
  entries: Readonly<Record<string, GgufValue>>,
  options: Partial<GgufTokenizerOptions> = {},
): ReturnType<typeof tokenizerFilesOfGguf> {
  const metadata = new Map(Object.entries(entries).map(([key, value]) => [`tokenizer.${key}`, value]));
  return tokenizerFilesOfGguf(new GgufMetadata("a.gguf", metadata), { ...OPTIONS, ...options });
}

function byteLevelEntries(pre: string): Record<string, GgufValue> {
  return {
    "ggml.model": "gpt2",
    "ggml.pre": pre,
    "ggml.tokens": byteLevel.tokens,
    "ggml.token_type": byteLevel.types,
    "ggml.merges": byteLevel.merges,
    "ggml.bos_token_id": byteLevel.tokens.indexOf("<|end|>"),
    "ggml.eos_token_id": byteLevel.tokens.indexOf("<|end|>"),
    chat_template: "{{ messages }}",
  };
}

const SENTENCE_PIECE: Readonly<Record<string, GgufValue>> = {
  "ggml.model": "llama",
  "ggml.tokens": sentencePiece.tokens,
  "ggml.token_type": sentencePiece.types,
  "ggml.scores": sentencePiece.scores,
  "ggml.bos_token_id": 1,
  "ggml.eos_token_id": 2,
  "ggml.unknown_token_id": 0,
};

function json(files: ReturnType<typeof tokenizerFilesOfGguf>, name: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(files.find((file) => file.name === name)!.bytes).toString());
}

describe("byte-level vocabularies", () => {
  test.each(Object.entries(byteLevel.ids))("%s: cuts and joins as tokenizers does", (pre, ids) => {
    const tokenizer = Tokenizer.fromFiles(convert(byteLevelEntries(pre)));
    texts.forEach((text, i) => {
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids[i]);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(
        pre.startsWith("qwen") ? text.normalize("NFC") : text,
      );
    });
  });

  test("refuses words it cannot cut, and names those it can", () => {
    expect(() => convert(byteLevelEntries("viking"))).toThrow(/expected one of .*llama-bpe.*, got viking/);
  });

  test("carries special tokens and the chat template", () => {
    const files = convert(byteLevelEntries("llama-bpe"));
    const end = byteLevel.tokens.indexOf("<|end|>");
    expect(json(files, "tokenizer_config.json")).toMatchObject({
      model_input_names: ["input_ids", "attention_mask"],
      bos_token: "<|end|>",
      eos_token: "<|end|>",
      add_bos_token: true,
      model_max_length: 64,
      chat_template: "{{ messages }}",
    });
    const tokenizer = Tokenizer.fromFiles(files);
    expect(tokenizer).toMatchObject({ bosId: end, eosIds: [end], addsBos: true });
    expect(tokenizer.vocabSize).toBe(byteLevel.tokens.length);
    const silent = convert({ ...byteLevelEntries("llama-bpe"), "ggml.add_bos_token": false });
    expect(Tokenizer.fromFiles(silent).addsBos).toBe(false);
  });

  test("finds a repeated token among many at once", () => {
    const tokens = Array.from({ length: 300_000 }, (_, id) => `token ${Math.max(1, id)}`);
    const { "ggml.token_type": _, ...entries } = byteLevelEntries("gpt-2");
    const start = process.cpuUsage();
    expect(() => convert({ ...entries, "ggml.tokens": tokens.reverse() })).toThrow(
      'expected unique tokens, got "token 1" twice',
    );
    // Microseconds of processor time; comparing each with each takes more than that many seconds.
    expect(process.cpuUsage(start).user).toBeLessThan(5e6);
  });

  test.each<[string, Record<string, GgufValue>]>([
    ["repeated tokens", { "ggml.tokens": byteLevel.tokens.with(3, "a") }],
    ["merges that are no pairs", { "ggml.merges": ["ab"] }],
    ["types for other tokens", { "ggml.token_type": [1, 1] }],
    ["tokens that are no strings", { "ggml.tokens": [1, 2] }],
  ])("refuses %s", (_, change) => {
    expect(() => convert({ ...byteLevelEntries("gpt-2"), ...change })).toThrow(
      expect.objectContaining({ code: "BAD_FILE" }),
    );
  });
});

describe("SentencePiece vocabularies", () => {
  test.each([
    ["prefix", true],
    ["no prefix", false],
  ])("%s: joins as tokenizers does", (name, prefix) => {
    const tokenizer = Tokenizer.fromFiles(convert({ ...SENTENCE_PIECE, "ggml.add_space_prefix": prefix }));
    texts.forEach((text, i) => {
      const ids = tokenizer.encode(text);
      expect([...ids], JSON.stringify(text)).toEqual(sentencePiece.ids[name]![i]);
      // The library's decoder of byte tokens loses U+FEFF.
      expect(tokenizer.decode(ids)).toBe(sentencePiece.decoded[name]![i]!.replaceAll("\ufeff", ""));
    });
    expect(tokenizer).toMatchObject({ bosId: 1, eosIds: [2], addsBos: true });
  });

  test("takes the order of tokens for that of merges where scores say nothing, as Gemma's files need", () => {
    const { tokens, scores } = sentencePiece;
    // Joined pieces stand in the file in their order of merging.
    const spelled = tokens.map((token) => (/^▁{2,}$/.test(token) ? " ".repeat(token.length) : token));
    const entries = { ...SENTENCE_PIECE, "ggml.tokens": spelled, "ggml.scores": scores.map(() => -1000) };
    const files = convert({ ...entries, "ggml.add_space_prefix": false }, { mergeOrder: "position" });
    const tokenizer = Tokenizer.fromFiles(files);
    texts.forEach((text, i) => {
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(sentencePiece.ids["no prefix"]![i]);
    });
  });

  test("needs scores", () => {
    const { "ggml.scores": _, ...entries } = SENTENCE_PIECE;
    expect(() => convert(entries)).toThrow("expected a score for each token");
  });

  test("lists the cuts of better tokens first and refuses endless tokens", () => {
    const tokens = ["a", "b", "c", "ab", "bc", "abc"];
    const merges = mergesOfPieces(tokens, [-9, -9, -9, -1, -0.5, -2], (id) => id > 2);
    expect(merges).toEqual([
      ["b", "c"],
      ["a", "b"],
      ["ab", "c"],
      ["a", "bc"],
    ]);
    expect(() => mergesOfPieces(["a".repeat(1025)], [0], () => true)).toThrow("at most 1024");
  });
});

describe("other files", () => {
  test("have no tokenizer files or are refused", () => {
    expect(convert({})).toEqual([]);
    expect(convert({ "ggml.model": "none" })).toEqual([]);
    expect(() => convert({ "ggml.model": "bert" })).toThrow("expected one of gpt2, llama, gemma4, got bert");
  });

  test("may name a second token that ends what the model says", () => {
    const names = (turn: GgufValue): readonly string[] =>
      convert({ ...SENTENCE_PIECE, "ggml.eot_token_id": turn }).map(({ name }) => name);
    const isNamed = [7, 2, 10_000].map((turn) => names(turn).includes("generation_config.json"));
    expect(isNamed).toEqual([true, false, false]);
    const files = convert({ ...SENTENCE_PIECE, "ggml.eot_token_id": 7 });
    expect(json(files, "generation_config.json")).toEqual({ bos_token_id: 1, eos_token_id: [2, 7] });
    expect(Tokenizer.fromFiles(files)).toMatchObject({ bosId: 1, eosIds: [2, 7], prefixId: 1 });
  });

  test("take an id that no token has for none, as -1 in 32 bits", () => {
    const files = convert({ ...SENTENCE_PIECE, "ggml.padding_token_id": 2 ** 32 - 1 });
    expect(json(files, "tokenizer_config.json")).not.toHaveProperty("pad_token");
  });

  test("may name tokens like object members", () => {
    const tokens = [...byteLevel.tokens, "__proto__", "constructor", ""];
    const types = [...byteLevel.types, 1, 4, 5];
    const entries = { ...byteLevelEntries("gpt-2"), "ggml.tokens": tokens, "ggml.token_type": types };
    const tokenizer = Tokenizer.fromFiles(convert(entries));
    expect(tokenizer.vocabSize).toBe(tokens.length);
    expect([...tokenizer.encode("constructor")]).toEqual([tokens.indexOf("constructor")]);
    expect(tokenizer.decode([tokens.indexOf("__proto__")])).toBe("__proto__");
  });
});
