import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { GpruneError } from "../../errors.ts";
import type { GgufValue } from "../../io/formats/gguf_header.ts";
import { GgufMetadata } from "../../io/formats/gguf_metadata.ts";
import { type EncodedValue, flag, i32s, text, texts, u32 } from "../../io/formats/gguf_values.ts";
import type { CarriedFile } from "../model.ts";
import { mergesOfPieces } from "../tokenizer/sentencepiece.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { TOKEN_TYPE, tokenizerFilesOfGguf } from "./tokenizer.ts";
import {
  cutWarning,
  type GgufVocabularyOptions,
  ggufTokenizerObstacle,
  ggufVocabularyOf,
} from "./vocabulary.ts";

/** Vocabularies, and token ids of texts by tokenizers (Rust), made by scripts/make-tokenizer-fixtures.py. */
const {
  texts: samples,
  byteLevel,
  sentencePiece,
} = JSON.parse(readFileSync(new URL("../../../test/fixtures/tokenizers.json", import.meta.url), "utf8"));

type Json = Readonly<Record<string, unknown>>;

function file(name: string, content: Json | string): CarriedFile {
  return { name, bytes: Buffer.from(typeof content === "string" ? content : JSON.stringify(content)) };
}

function convert(files: readonly CarriedFile[], options: Partial<GgufVocabularyOptions> = {}) {
  return ggufVocabularyOf(files, { vocabSize: 8, fallbackIds: {}, ...options }).metadata;
}

/** Encoded values as a reader of files gives them, for the types that these tests need. */
function decoded(entries: ReadonlyMap<string, EncodedValue>): ReadonlyMap<string, GgufValue> {
  return new Map([...entries].map(([key, bytes]) => [key, decodedValue(Buffer.from(bytes))]));
}

function decodedValue(bytes: Buffer): GgufValue {
  const type = bytes.readUInt32LE();
  if (type !== 9) return decodedItem(type, bytes, 4).value;
  const items: GgufValue[] = [];
  let at = 16;
  for (let left = Number(bytes.readBigUInt64LE(8)); left > 0; left--) {
    const { value, end } = decodedItem(bytes.readUInt32LE(4), bytes, at);
    items.push(value);
    at = end;
  }
  return items as readonly string[];
}

function decodedItem(
  type: number,
  bytes: Buffer,
  at: number,
): { value: string | number | boolean; end: number } {
  if (type === 7) return { value: bytes[at] === 1, end: at + 1 };
  if (type === 6) return { value: bytes.readFloatLE(at), end: at + 4 };
  if (type === 5) return { value: bytes.readInt32LE(at), end: at + 4 };
  if (type === 4) return { value: bytes.readUInt32LE(at), end: at + 4 };
  const end = at + 8 + Number(bytes.readBigUInt64LE(at));
  return { value: bytes.toString("utf8", at + 8, end), end };
}

const BYTE_LEVEL: Json = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
/** A byte-level tokenizer of a few tokens. */
const SMALL: Json = {
  added_tokens: [
    { id: 3, content: "<|end|>", special: true },
    { id: 4, content: "▁▁tool", special: false },
  ],
  normalizer: null,
  pre_tokenizer: BYTE_LEVEL,
  post_processor: null,
  decoder: BYTE_LEVEL,
  model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"], ignore_merges: false },
};

function withCut(pre_tokenizer: Json, ignore_merges = false): readonly CarriedFile[] {
  return [
    file("tokenizer.json", { ...SMALL, pre_tokenizer, model: { ...(SMALL.model as Json), ignore_merges } }),
  ];
}

/** A tokenizer with byte fallback. */
function bytes(normalizer: Json | null, cut: Json | null, tokens: readonly string[]): readonly CarriedFile[] {
  const vocab = Object.fromEntries(["a", ...tokens].map((token, id) => [token, id]));
  const model = { type: "BPE", byte_fallback: true, vocab, merges: [] };
  return [file("tokenizer.json", { ...SMALL, added_tokens: [], normalizer, pre_tokenizer: cut, model })];
}

function same(entries: ReadonlyMap<string, EncodedValue>, key: string, value: EncodedValue): void {
  expect(Buffer.from(entries.get(key)!).toString("hex"), key).toBe(Buffer.from(value).toString("hex"));
}

test("a token without text has no role unless it is named", () => {
  const signs = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const entries = convert(bytes(signs, null, [""]), { vocabSize: 2 });
  expect([...entries.keys()].filter((key) => key.endsWith("_token_id"))).toEqual([]);
  same(entries, "tokenizer.ggml.token_type", i32s([TOKEN_TYPE.normal, TOKEN_TYPE.normal]));
});

describe("files of a GGUF", () => {
  const byteLevelEntries = (pre: string): Record<string, GgufValue> => ({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": byteLevel.tokens,
    "tokenizer.ggml.token_type": byteLevel.types,
    "tokenizer.ggml.merges": byteLevel.merges,
    "tokenizer.ggml.bos_token_id": byteLevel.tokens.indexOf("<|end|>"),
    "tokenizer.ggml.eos_token_id": byteLevel.tokens.indexOf("<|end|>"),
    "tokenizer.chat_template": "{{ messages }}",
  });
  const options = { path: "a.gguf", mergeOrder: "score", maxLength: 64 } as const;

  test.each([
    "gpt-2",
    "smollm",
    "llama-bpe",
    "qwen2",
    "qwen35",
    "gpt-4o",
    "tekken",
    "deepseek-v3",
    "smaug-bpe",
    "deepseek-coder",
  ])("with the cut %s become the metadata they were made of", (pre) => {
    const entries = byteLevelEntries(pre);
    const files = tokenizerFilesOfGguf(new GgufMetadata("a.gguf", new Map(Object.entries(entries))), options);
    const written = decoded(convert(files, { vocabSize: byteLevel.tokens.length }));
    expect(Object.fromEntries(written)).toEqual({
      ...entries,
      "tokenizer.ggml.add_bos_token": Tokenizer.fromFiles(files).addsBos,
      "tokenizer.ggml.add_eos_token": false,
    });
  });

  test.each([true, false])(
    "of SentencePiece give the same tokens again (space before texts: %s)",
    (prefix) => {
      const entries = new Map<string, GgufValue>(
        Object.entries({
          "tokenizer.ggml.model": "llama",
          "tokenizer.ggml.tokens": sentencePiece.tokens,
          "tokenizer.ggml.token_type": sentencePiece.types,
          "tokenizer.ggml.scores": sentencePiece.scores,
          "tokenizer.ggml.bos_token_id": 1,
          "tokenizer.ggml.eos_token_id": 2,
          "tokenizer.ggml.unknown_token_id": 0,
          "tokenizer.ggml.add_space_prefix": prefix,
        }),
      );
      const files = tokenizerFilesOfGguf(new GgufMetadata("a.gguf", entries), options);
      const written = decoded(convert(files, { vocabSize: sentencePiece.tokens.length }));
      const { "tokenizer.ggml.scores": _, ...kept } = Object.fromEntries(entries);
      expect(Object.fromEntries(written)).toMatchObject({ ...kept, "tokenizer.ggml.add_bos_token": true });
      const again = Tokenizer.fromFiles(tokenizerFilesOfGguf(new GgufMetadata("b.gguf", written), options));
      const ids = sentencePiece.ids[prefix ? "prefix" : "no prefix"];
      for (const [i, sample] of samples.entries()) expect([...again.encode(sample)]).toEqual(ids[i]);
    },
  );
});

describe("a tokenizer with space signs that is written with merges", () => {
  const entries: Readonly<Record<string, GgufValue>> = {
    "tokenizer.ggml.model": "gemma4",
    "tokenizer.ggml.tokens": [...sentencePiece.tokens, "<|channel>", "<|turn>"],
    "tokenizer.ggml.token_type": [...sentencePiece.types, TOKEN_TYPE.userDefined, TOKEN_TYPE.control],
    "tokenizer.ggml.merges": mergesOfPieces(
      sentencePiece.tokens,
      sentencePiece.scores,
      (id) => sentencePiece.types[id] === TOKEN_TYPE.normal,
    ).map((merge) => merge.join(" ")),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
  };
  const options = { path: "a.gguf", mergeOrder: "position", maxLength: 64 } as const;
  const files = tokenizerFilesOfGguf(new GgufMetadata("a.gguf", new Map(Object.entries(entries))), options);
  const vocabSize = sentencePiece.tokens.length + 2;

  test("gives the tokens of tokenizers, and the metadata that it was made of", () => {
    const tokenizer = Tokenizer.fromFiles(files);
    for (const [i, sample] of samples.entries())
      expect([...tokenizer.encode(sample)]).toEqual(sentencePiece.ids["no prefix"][i]);
    expect(tokenizer).toMatchObject({ bosId: 1, addsBos: true });
    expect(Object.fromEntries(decoded(convert(files, { vocabSize, keepsMerges: true })))).toEqual({
      ...entries,
      "tokenizer.ggml.add_bos_token": true,
      "tokenizer.ggml.add_eos_token": false,
      "tokenizer.ggml.add_space_prefix": false,
    });
  });

  test("shows the tokens of a chat that llama.cpp looks for, which are special otherwise", () => {
    const { added_tokens } = JSON.parse(Buffer.from(files[0]!.bytes).toString());
    const channel = { content: "<|channel>", special: true };
    expect(added_tokens).toContainEqual(expect.objectContaining(channel));
    const written = decoded(convert(files, { vocabSize }));
    expect(written.get("tokenizer.ggml.model")).toBe("llama");
    const types = written.get("tokenizer.ggml.token_type") as readonly number[];
    expect(types.slice(-2)).toEqual([TOKEN_TYPE.control, TOKEN_TYPE.control]);
  });

  test("has scores where a space is put before texts, which llama.cpp does not do with merges", () => {
    const json = JSON.parse(Buffer.from(files[0]!.bytes).toString());
    const normalizers = [{ type: "Prepend", prepend: "▁" }, json.normalizer];
    const prefixed = { ...json, normalizer: { type: "Sequence", normalizers } };
    const written = convert([file("tokenizer.json", prefixed)], { vocabSize, keepsMerges: true });
    expect(written.get("tokenizer.ggml.model")).toEqual(text("llama"));
  });

  test.each([["a"], ["ab"], [" a"]])("refuses merges that are no pairs: %s", (merge) => {
    const bad = new Map(Object.entries({ ...entries, "tokenizer.ggml.merges": [merge] }));
    expect(() => tokenizerFilesOfGguf(new GgufMetadata("a.gguf", bad), options)).toThrow(
      "tokenizer.ggml.merges: expected pairs of tokens",
    );
  });
});

describe("the cut into words", () => {
  const llama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" +
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const split = (behavior: string, invert: boolean): Json => ({
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: llama3 }, behavior, invert },
      { ...BYTE_LEVEL, use_regex: false },
    ],
  });
  const digits = {
    type: "Sequence",
    pretokenizers: [{ type: "Digits", individual_digits: true }, BYTE_LEVEL],
  };

  test.each<[string, readonly CarriedFile[]]>([
    ["gpt-2", withCut(BYTE_LEVEL)],
    ["smollm", withCut(digits)],
    ["llama-bpe", withCut(split("Isolated", false), true)],
    ["smaug-bpe", withCut(split("Isolated", false))],
    ["smaug-bpe", withCut(split("Removed", true))],
  ])("is recognised as %s in the files of models", (name, files) => {
    same(convert(files), "tokenizer.ggml.pre", text(name));
  });

  test("is refused with what was found when it has no name, and can be named", () => {
    const files = withCut({ type: "Sequence", pretokenizers: [{ type: "Digits" }, BYTE_LEVEL] });
    expect(() => convert(files)).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringContaining('got "\\\\p{N}+", then "'),
        hint: expect.stringContaining("--pre NAME"),
      }) as GpruneError,
    );
    same(convert(files, { pre: "viking" }), "tokenizer.ggml.pre", text("viking"));
  });

  test.each<[string, readonly CarriedFile[], string | null]>([
    ["smollm", withCut(digits), null],
    ["starcoder", withCut(digits), null],
    ["llama-bpe", withCut(digits), "pre-tokenizer llama-bpe differs from that of tokenizer.json (smollm)"],
    ["smolm", withCut(digits), "pre-tokenizer smolm is not one that gprune knows"],
    ["llama-bpe", withCut({ type: "Sequence", pretokenizers: [{ type: "Digits" }, BYTE_LEVEL] }), null],
    ["llama-bpe", [], null],
  ])("given as %s is warned of where it is not the tokenizer's", (name, files, warning) => {
    if (warning === null) expect(cutWarning(files, name)).toBeNull();
    else expect(cutWarning(files, name)).toContain(warning);
  });

  test("is refused where it adds a space before texts", () => {
    expect(() => convert(withCut({ ...BYTE_LEVEL, add_prefix_space: true }))).toThrow("add_prefix_space");
  });
});

describe("entries", () => {
  test("name rows that have no token, and say what kind each token is", () => {
    const entries = convert([file("tokenizer.json", SMALL)], { vocabSize: 6 });
    same(entries, "tokenizer.ggml.tokens", texts(["a", "b", "ab", "<|end|>", "  tool", "[PAD5]"]));
    expect(decoded(entries).get("tokenizer.ggml.token_type")).toEqual([1, 1, 1, 3, 4, 5]);
  });

  test.each([
    [{ prepend_scheme: "first", split: false }, true],
    [{ prepend_scheme: "never" }, false],
    [{}, true],
    [{ add_prefix_space: true }, true],
  ])("say whether a space comes before texts: Metaspace of %j", (keys, adds) => {
    const metaspace = { type: "Metaspace", replacement: "▁", ...keys };
    for (const pre_tokenizer of [metaspace, { type: "Sequence", pretokenizers: [metaspace] }]) {
      const model = { type: "BPE", byte_fallback: true, vocab: { a: 0 }, merges: [] };
      const entries = convert([file("tokenizer.json", { ...SMALL, pre_tokenizer, model })]);
      same(entries, "tokenizer.ggml.add_space_prefix", flag(adds));
    }
  });

  const signs = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
  test.each([
    [signs, null],
    [{ type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, signs] }, null],
    [signs, { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false }],
    [{ type: "NFC" }, metaspace],
  ])("are made with byte fallback where steps make signs of spaces: %j, %j", (normalizer, cut) => {
    expect(convert(bytes(normalizer, cut, ["▁a▁"])).get("tokenizer.ggml.model")).toEqual(text("llama"));
  });

  test.each([
    [{ type: "Sequence", normalizers: [signs, { type: "Lowercase" }] }, null, '{"type":"Lowercase"}'],
    [{ type: "NFKC" }, metaspace, '{"type":"NFKC"}'],
    [{ type: "Prepend", prepend: "x" }, metaspace, '"prepend":"x"'],
    [
      null,
      {
        type: "Sequence",
        pretokenizers: [{ type: "Digits", individual_digits: true }, metaspace],
      },
      '"type":"Digits"',
    ],
    [null, { ...metaspace, split: true }, '"split":true'],
    [null, { ...metaspace, replacement: "_" }, '"replacement":"_"'],
    [null, null, "expected a step that replaces spaces by ▁, as llama.cpp does, got none"],
  ])("are not made with byte fallback and other steps: %j, %j", (normalizer, cut, got) => {
    expect(() => convert(bytes(normalizer, cut, ["▁a▁"]))).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(got) }) as GpruneError,
    );
  });

  test("ggufTokenizerObstacle names the steps that llama.cpp lacks", () => {
    const refused = { files: bytes({ type: "NFKC" }, metaspace, []) };
    expect(ggufTokenizerObstacle(refused)).toMatch(
      /expected steps that llama.cpp supports, got \{"type":"NFKC"\}/,
    );
    expect(ggufTokenizerObstacle({ files: bytes(null, metaspace, []) })).toBeNull();
    expect(ggufTokenizerObstacle({ files: [] })).toBeNull();
    const metadata = new Map([["tokenizer.ggml.model", text("gpt2")]]);
    expect(ggufTokenizerObstacle({ ...refused, ggufMetadata: metadata })).toBeNull();
  });

  test("are made of words that Metaspace splits where no token goes on behind a sign", () => {
    const cut = { ...metaspace, split: true };
    expect(convert(bytes(null, cut, ["▁a", "▁"])).get("tokenizer.ggml.model")).toEqual(text("llama"));
  });

  test.each(["NFKC", "NFD", "Lowercase", "StripAccents"])("are not made of bytes after %s", (type) => {
    const normalizer = { type: "Sequence", normalizers: [{ type: "NFC" }, { type }] };
    expect(() => convert([file("tokenizer.json", { ...SMALL, normalizer })])).toThrow(
      `expected steps that llama.cpp supports, got {"type":"${type}"}`,
    );
  });

  test("take roles from tokenizer_config.json, then from the configuration", () => {
    const config = file("tokenizer_config.json", { eos_token: { content: "<|end|>" }, bos_token: null });
    const fallbackIds = { bos_token_id: 1, eos_token_id: [0, 2], pad_token_id: 99 };
    const entries = convert([file("tokenizer.json", SMALL), config], { fallbackIds });
    same(entries, "tokenizer.ggml.eos_token_id", u32(3));
    same(entries, "tokenizer.ggml.bos_token_id", u32(1));
    expect(entries.has("tokenizer.ggml.padding_token_id")).toBe(false);
    same(entries, "tokenizer.ggml.add_bos_token", flag(false));
  });

  test("take an id of -1 for none", () => {
    const entries = convert([file("tokenizer.json", SMALL)], { fallbackIds: { pad_token_id: -1 } });
    expect(entries.has("tokenizer.ggml.padding_token_id")).toBe(false);
  });

  test("prefer the template of its own file, and of several the default", () => {
    const json = file("tokenizer.json", SMALL);
    const one = file("tokenizer_config.json", { chat_template: "one" });
    const several = file("tokenizer_config.json", {
      chat_template: [
        { name: "tool_use", template: "tools" },
        { name: "default", template: "plain" },
      ],
    });
    same(convert([json, one]), "tokenizer.chat_template", text("one"));
    same(convert([json, several]), "tokenizer.chat_template", text("plain"));
    same(convert([json, one, file("chat_template.jinja", "own")]), "tokenizer.chat_template", text("own"));
    expect(convert([json]).has("tokenizer.chat_template")).toBe(false);
  });

  test("leave out added tokens that the embedding has no row for, as those of the small Gemma 3", () => {
    const files = [
      file("tokenizer.json", SMALL),
      file("tokenizer_config.json", { eos_token: "<|end|>", pad_token: "▁▁tool" }),
    ];
    const { metadata, leftOut } = ggufVocabularyOf(files, { vocabSize: 4, fallbackIds: {} });
    expect(leftOut).toEqual(["▁▁tool"]);
    same(metadata, "tokenizer.ggml.tokens", texts(["a", "b", "ab", "<|end|>"]));
    same(metadata, "tokenizer.ggml.eos_token_id", u32(3));
    expect(metadata.has("tokenizer.ggml.padding_token_id")).toBe(false);
  });

  test("of a model without tokenizer.json say that there is no vocabulary", () => {
    const entries = convert([]);
    expect([...entries.keys()]).toEqual(["tokenizer.ggml.model"]);
    same(entries, "tokenizer.ggml.model", text("none"));
  });
});

describe("refusals", () => {
  test("of a chat template of more than a megabyte, wherever it stands", () => {
    const long = "x".repeat(2 ** 20 + 1);
    const json = file("tokenizer.json", SMALL);
    const message = "expected a chat template of at most 1048576 bytes, got 1048577";
    expect(() => convert([json, file("tokenizer_config.json", { chat_template: long })])).toThrow(
      `tokenizer_config.json: chat_template: ${message}`,
    );
    expect(() => convert([json, file("chat_template.jinja", long)])).toThrow(
      `chat_template.jinja: ${message}`,
    );
    expect(() => convert([json, file("chat_template.jinja", long.slice(1))])).not.toThrow();
  });

  test("of more tokens than the model has, and of other kinds of tokenizers", () => {
    const files = [file("tokenizer.json", SMALL)];
    expect(() => convert(files, { vocabSize: 2 })).toThrow(/below the 2 rows of the embedding, got 2/);
    for (const model of [
      { type: "Unigram", vocab: [["a", -1]] },
      { type: "WordPiece", vocab: {} },
    ]) {
      expect(() => convert([file("tokenizer.json", { ...SMALL, model })])).toThrow(`got ${model.type}`);
    }
  });

  test("whose words end in a suffix, and of merges that are no pairs", () => {
    const withModel = (changes: Json) => () =>
      convert([file("tokenizer.json", { ...SMALL, model: { ...(SMALL.model as Json), ...changes } })]);
    expect(withModel({ end_of_word_suffix: "" })).not.toThrow();
    expect(withModel({ end_of_word_suffix: "</w>" })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("got </w>") }),
    );
    for (const merge of ["ab", "ab ", " b"]) {
      expect(withModel({ merges: [merge] })).toThrow(
        expect.objectContaining({
          code: "BAD_FILE",
          message: expect.stringContaining(JSON.stringify(merge)),
        }),
      );
    }
  });
});
