import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { CarriedFile } from "../model.ts";
import { isSameTokenizer, Tokenizer } from "./tokenizer.ts";

function file(name: string, value: unknown): CarriedFile {
  return { name, bytes: Buffer.from(JSON.stringify(value)) };
}

interface Parts {
  readonly tokens: readonly string[];
  readonly merges?: readonly (readonly [string, string])[];
  readonly added?: readonly string[];
  readonly [key: string]: unknown;
}

function tokenizerJson({ tokens, merges = [], added = [], ...parts }: Parts): CarriedFile {
  return file("tokenizer.json", {
    added_tokens: added.map((content) => ({ id: tokens.indexOf(content), content, special: true })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...parts,
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  });
}

function sequenceOf(...pretokenizers: readonly unknown[]): unknown {
  return { type: "Sequence", pretokenizers };
}

const SPACES = { type: "Replace", pattern: { String: " " }, content: "▁" };
const PIECES = ["▁", "a", "b", "\n", "▁▁", "▁a", "ab", "▁ab", "aa", "\n\n"];
const PIECE_MERGES = [
  ["a", "b"],
  ["▁", "▁"],
  ["▁", "ab"],
  ["▁", "a"],
  ["a", "a"],
  ["\n", "\n"],
] as const;

describe("words of more than 2^18 characters", () => {
  const merges = [["a", "b"]] as const;
  const tokenizer = Tokenizer.fromFiles([tokenizerJson({ tokens: ["a", "b", "ab", " "], merges })]);

  test("are cut, and lose nothing", () => {
    const text = (pairs: number): string => `b${"ab".repeat(pairs)}`;
    expect(tokenizer.encode(text(2 ** 16))).toHaveLength(2 ** 16 + 1);
    // One pair lies on both sides of the cut.
    const ids = tokenizer.encode(text(2 ** 17));
    expect(ids).toHaveLength(2 ** 17 + 2);
    expect(tokenizer.decode(ids).replaceAll(" ", "")).toBe(text(2 ** 17));
  });

  test("are not cut where white space separates two shorter ones", () => {
    expect(tokenizer.encode(`b${"ab".repeat(2 ** 16)} ${"ab".repeat(2 ** 16)}`)).toHaveLength(2 ** 17 + 2);
  });
});

describe("Tokenizer.fromFiles", () => {
  const tokens = ["a", "b", "<s>", "</s>", "<end>"];
  const json = tokenizerJson({ tokens, added: tokens.slice(2) });

  test("needs tokenizer.json and nothing else", () => {
    expect(() => Tokenizer.fromFiles([])).toThrow(
      expect.objectContaining({ code: "NOT_FOUND", hint: expect.stringContaining("original model") }),
    );
    const slow = [{ name: "tokenizer.model", bytes: Uint8Array.of(1) }];
    expect(() => Tokenizer.fromFiles(slow)).toThrow(
      expect.objectContaining({ code: "NOT_FOUND", hint: expect.stringContaining("AutoTokenizer") }),
    );
    const tokenizer = Tokenizer.fromFiles([json]);
    expect([...tokenizer.encode("ab<s>a")]).toEqual([0, 1, 2, 0]);
    expect([...tokenizer.encode("")]).toEqual([]);
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer).toMatchObject({ eosIds: [], bosId: null, addsBos: false, vocabSize: 5 });
  });

  test("takes the token for unknown words of whole-word vocabularies from tokenizer.json", () => {
    const vocab = { a: 0, b: 1, "?": 2 };
    const wordsOf = (model: object): Tokenizer =>
      Tokenizer.fromFiles([
        file("tokenizer.json", {
          pre_tokenizer: { type: "WhitespaceSplit" },
          model: { type: "WordLevel", vocab, ...model },
        }),
        file("tokenizer_config.json", { unk_token: "b" }),
      ]);
    expect([...wordsOf({ unk_token: "?" }).encode("b c a")]).toEqual([1, 2, 0]);
    expect(() => wordsOf({ unk_token: "!" }).encode("c")).toThrow(
      expect.objectContaining({ code: "BAD_TEXT" }),
    );
  });

  test("takes special ids from both configurations", () => {
    const config = file("tokenizer_config.json", { bos_token: { content: "<s>" }, eos_token: "</s>" });
    const generation = file("generation_config.json", { eos_token_id: [4, 3] });
    expect(Tokenizer.fromFiles([json, config])).toMatchObject({ eosIds: [3], bosId: 2 });
    expect(Tokenizer.fromFiles([generation, json, config])).toMatchObject({ eosIds: [3, 4], bosId: 2 });
  });

  test("adds no tokens of its own to a text and tells that transformers would", () => {
    const post_processor = {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    };
    const config = file("tokenizer_config.json", { bos_token: "<s>" });
    const tokenizer = Tokenizer.fromFiles([
      tokenizerJson({ tokens, added: ["<s>"], post_processor }),
      config,
    ]);
    expect([...tokenizer.encode("ab")]).toEqual([0, 1]);
    expect(tokenizer.addsBos).toBe(true);
    // A generation_config.json of another model does not hide what the tokenizer does.
    const generation = file("generation_config.json", { bos_token_id: 0 });
    const files = [tokenizerJson({ tokens, added: ["<s>"], post_processor }), config, generation];
    expect(Tokenizer.fromFiles(files)).toMatchObject({ addsBos: true, bosId: 2 });
    expect(Tokenizer.fromFiles([json, config, generation])).toMatchObject({ addsBos: false, bosId: 0 });
  });

  test.each<[string, CarriedFile[], string]>([
    ["text that is no JSON", [{ name: "tokenizer.json", bytes: Buffer.from("{") }], "BAD_FILE"],
    ["bytes that are no text", [{ name: "tokenizer.json", bytes: Uint8Array.of(0xff) }], "BAD_FILE"],
    ["no object", [file("tokenizer.json", [])], "BAD_FILE"],
    ["no model", [file("tokenizer.json", {})], "BAD_FILE"],
    ["a bad configuration", [json, file("tokenizer_config.json", { eos_token: 7 })], "BAD_FILE"],
    ["unknown steps", [tokenizerJson({ tokens, pre_tokenizer: { type: "Magic" } })], "UNSUPPORTED"],
    [
      "merges that the library would ignore",
      [
        file("tokenizer.json", {
          model: { type: "BPE", vocab: { a: 0, "##b": 1 }, merges: [], continuing_subword_prefix: "##" },
        }),
      ],
      "UNSUPPORTED",
    ],
    [
      "an unknown model",
      [file("tokenizer.json", { model: { type: "Magic", vocab: { a: 0 }, merges: [] } })],
      "UNSUPPORTED",
    ],
    ["unknown steps in a sequence", [tokenizerJson({ tokens, pre_tokenizer: sequenceOf(7) })], "UNSUPPORTED"],
    [
      "ids without end",
      [tokenizerJson({ tokens: ["a"], added_tokens: [{ id: 2 ** 31, content: "x" }] })],
      "BAD_FILE",
    ],
    [
      "added tokens without end",
      [tokenizerJson({ tokens, added_tokens: [{ id: 0, content: "a".repeat(513) }] })],
      "UNSUPPORTED",
    ],
    ["steps that are none", [tokenizerJson({ tokens, pre_tokenizer: 7 })], "BAD_FILE"],
  ])("refuses %s", (_, files, code) => {
    expect(() => Tokenizer.fromFiles(files)).toThrow(expect.objectContaining({ code }));
  });
});

describe("corrections of the library", () => {
  const pieceText = fc.string({ unit: fc.constantFrom("a", "b", " ", "  ", "\n", "▁"), maxLength: 40 });

  function agree(fast: CarriedFile, plain: CarriedFile): void {
    const [one, other] = [Tokenizer.fromFiles([fast]), Tokenizer.fromFiles([plain])];
    fc.assert(
      fc.property(pieceText, (text) => {
        expect([...one.encode(text)]).toEqual([...other.encode(text)]);
      }),
      { numRuns: 300, seed: 1 },
    );
  }

  test("cuts before spaces without changing tokens", () => {
    const parts = { merges: PIECE_MERGES, normalizer: SPACES };
    // A token that goes on after a space, which nothing makes, keeps the text whole.
    agree(
      tokenizerJson({ ...parts, tokens: PIECES }),
      tokenizerJson({ ...parts, tokens: [...PIECES, "b▁b"] }),
    );
  });

  test("does not cut where tokens go on after a space", () => {
    const merges = [["a", "▁"], ["a▁", "a"], ...PIECE_MERGES] as const;
    const tokens = [...PIECES, "a▁", "a▁a"];
    const tokenizer = Tokenizer.fromFiles([tokenizerJson({ tokens, merges, normalizer: SPACES })]);
    expect([...tokenizer.encode("a a")]).toEqual([tokens.indexOf("a▁a")]);
  });

  test("cuts where Metaspace does", () => {
    const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "never" };
    const parts = { tokens: PIECES, merges: PIECE_MERGES };
    const splitting = Tokenizer.fromFiles([
      tokenizerJson({ ...parts, pre_tokenizer: { ...metaspace, split: true } }),
    ]);
    const whole = Tokenizer.fromFiles([
      tokenizerJson({ ...parts, pre_tokenizer: { ...metaspace, split: false } }),
    ]);
    expect([...splitting.encode("  ab")]).toEqual([0, 7]);
    expect([...whole.encode("  ab")]).toEqual([4, 6]);
  });

  test("knows all numbers and spaces that tokenizers knows", () => {
    // Bytes of U+00B2, U+0085 and U+FEFF in the alphabet of byte-level vocabularies.
    const tokens = [
      "Ġ",
      "Â",
      "²",
      "ħ",
      "ï",
      "»",
      "¿",
      "ĠÂ",
      "Â²",
      "Âħ",
      "ï»",
      "ï»¿",
      "ï»¿Ġ",
      "ĠĠ",
      "a",
      "Ġa",
    ];
    const merges = [
      ["Ġ", "Â"],
      ["Â", "²"],
      ["Â", "ħ"],
      ["ï", "»"],
      ["ï»", "¿"],
      ["ï»¿", "Ġ"],
      ["Ġ", "Ġ"],
      ["Ġ", "a"],
    ] as const;
    const byteLevel = { type: "ByteLevel", add_prefix_space: false };
    const digits = { type: "Digits", individual_digits: true };
    const pre_tokenizer = sequenceOf(digits, byteLevel);
    const tokenizer = Tokenizer.fromFiles([tokenizerJson({ tokens, merges, pre_tokenizer })]);
    const pieces = (text: string): string[] => [...tokenizer.encode(text)].map((id) => tokens[id]!);
    expect(pieces(" ²²")).toEqual(["Ġ", "Â²", "Â²"]);
    expect(pieces("a\u0085 a")).toEqual(["a", "Âħ", "Ġa"]);
    // With U+FEFF as a space this would be "\ufeff " and " a".
    expect(pieces("\ufeff  a")).toEqual(["ï»¿", "Ġ", "Ġa"]);
  });

  test.each<[string, object, readonly (readonly string[])[]]>([
    [
      "Whitespace",
      {},
      [
        ["naïve_x", "²,", "3é", "..."],
        ["a", "b", "\ufeff", "c"],
        ["(«", "x", "»)", "日本", "。", "y\u200dz"],
      ],
    ],
    [
      "WhitespaceSplit",
      {},
      [
        ["naïve_x²,", "3é..."],
        ["a", "b", "\ufeffc"],
        ["(«x»)", "日本。y\u200dz"],
      ],
    ],
    [
      "BertPreTokenizer",
      {},
      [
        ["naïve", "_", "x²", ",", "3é", ".", ".", "."],
        ["a", "b", "\ufeffc"],
        ["(", "«", "x", "»", ")", "日本", "。", "y\u200dz"],
      ],
    ],
    [
      "Punctuation",
      { behavior: "Isolated" },
      [
        ["naïve", "_", "x²", ",", " 3é", ".", ".", "."],
        ["a\u0085b \ufeffc"],
        ["(", "«", "x", "»", ")", "  日本", "。", "y\u200dz"],
      ],
    ],
    [
      "Punctuation",
      { behavior: "Contiguous" },
      [
        ["naïve", "_", "x²", ",", " 3é", "..."],
        ["a\u0085b \ufeffc"],
        ["(«", "x", "»)", "  日本", "。", "y\u200dz"],
      ],
    ],
    [
      "Metaspace",
      { replacement: "▁", prepend_scheme: "always", split: true },
      [
        ["▁naïve_x²,", "▁3é..."],
        ["▁a\u0085b", "▁\ufeffc"],
        ["▁(«x»)", "▁", "▁日本。y\u200dz"],
      ],
    ],
  ])("cuts words where tokenizers does: %s %j", (type, parts, expected) => {
    const words = [...new Set(expected.flat())];
    const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
    const tokenizer = Tokenizer.fromFiles([
      file("tokenizer.json", { pre_tokenizer: { type, ...parts }, model: { type: "WordLevel", vocab } }),
    ]);
    const texts = ["naïve_x², 3é...", "a\u0085b \ufeffc", "(«x»)  日本。y\u200dz"];
    expect(texts.map((text) => [...tokenizer.encode(text)].map((id) => words[id]))).toEqual(expected);
  });

  // The behaviours by the examples of tokenizers' documentation; inverted as its split.rs computes them.
  test.each<[string, boolean, readonly string[]]>([
    ["Removed", false, ["the", "final", "countdown"]],
    ["Removed", true, ["-", "-", "-"]],
    ["Isolated", false, ["the", "-", "final", "-", "-", "countdown"]],
    ["Isolated", true, ["the", "-", "final", "-", "-", "countdown"]],
    ["Contiguous", false, ["the", "-", "final", "--", "countdown"]],
    ["Contiguous", true, ["the", "-", "final", "--", "countdown"]],
    ["MergedWithPrevious", false, ["the-", "final-", "-", "countdown"]],
    ["MergedWithPrevious", true, ["the", "-final", "-", "-countdown"]],
    ["MergedWithNext", false, ["the", "-final", "-", "-countdown"]],
    ["MergedWithNext", true, ["the-", "final-", "-", "countdown"]],
  ])("splits as tokenizers does: %s, inverted %s", (behavior, invert, expected) => {
    for (const pattern of [{ String: "-" }, { Regex: "-" }, { Regex: "[-.]|(?:-)" }]) {
      const words = [...new Set(expected)];
      const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
      const step = { type: "Split", pattern, behavior, invert };
      const model = { type: "WordLevel", vocab };
      const tokenizer = Tokenizer.fromFiles([file("tokenizer.json", { pre_tokenizer: step, model })]);
      const tokens = [...tokenizer.encode("the-final--countdown")].map((id) => words[id]);
      expect(tokens, JSON.stringify(pattern)).toEqual(expected);
    }
  });

  test("refuses added tokens that are none inside words", () => {
    const added = [{ id: 1, content: "the", single_word: true }];
    const model = { type: "WordLevel", vocab: { a: 0, the: 1 } };
    expect(() => Tokenizer.fromFiles([file("tokenizer.json", { added_tokens: added, model })])).toThrow(
      "expected added tokens without single_word, got the",
    );
  });

  test.each([
    ["MergedWithPrevious", false],
    ["MergedWithNext", false],
    ["MergedWithNext", true],
    ["Isolated", false],
  ])("cuts at matches without width: %s, inverted %s", (behavior, invert) => {
    const words = ["a", "Bc", "De", "F)"];
    const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
    const step = { type: "Split", pattern: { Regex: "(?=[A-Z(])" }, behavior, invert };
    const model = { type: "WordLevel", vocab };
    const tokenizer = Tokenizer.fromFiles([file("tokenizer.json", { pre_tokenizer: step, model })]);
    expect([...tokenizer.encode("aBcDeF)")].map((id) => words[id])).toEqual(words);
  });

  test.each(["(-|_)\\1", "(?<q>-)\\k<q>"])("refuses to merge by %s, which cannot stand twice", (regex) => {
    const step = { type: "Split", pattern: { Regex: regex }, behavior: "MergedWithNext" };
    const model = { type: "WordLevel", vocab: { a: 0 } };
    expect(() => Tokenizer.fromFiles([file("tokenizer.json", { pre_tokenizer: step, model })])).toThrow(
      /expected a MergedWithNext Split step without group references/,
    );
  });

  test("decodes dollar signs that Replace puts in", () => {
    const decoder = {
      type: "Sequence",
      decoders: [{ type: "Replace", pattern: { String: "_" }, content: "$$" }],
    };
    const model = { type: "WordLevel", vocab: { a_b: 0 } };
    expect(Tokenizer.fromFiles([file("tokenizer.json", { decoder, model })]).decode([0])).toBe("a$$b");
  });
});

test("takes tokenizers for the same whose configurations name other classes, and no others", () => {
  const tokenizer = file("tokenizer.json", { model: { type: "WordLevel", vocab: { a: 0 } } });
  const configured = (config: object) => [tokenizer, file("tokenizer_config.json", config)];
  const llama = configured({ bos_token: "a", tokenizer_class: "LlamaTokenizer" });
  expect(
    isSameTokenizer(llama, configured({ tokenizer_class: "PreTrainedTokenizerFast", bos_token: "a" })),
  ).toBe(true);
  expect(isSameTokenizer(llama, configured({ tokenizer_class: "LlamaTokenizer" }))).toBe(false);
  expect(isSameTokenizer(llama, [tokenizer])).toBe(false);
});
