/** Valid tokenizers of every model type, with small vocabularies. */
import fc from "fast-check";
import { wordCutByName } from "../../src/model/tokenizer/pretokenizers.ts";
import { CUT_NAMES } from "../../test/word_cuts.ts";

/** Special tokens of all generated tokenizers. */
export const SPECIAL = ["<s>", "</s>", "<unk>"] as const;

/** A valid tokenizer.json. */
export interface SoundTokenizer {
  readonly json: object;
  /** Whether decoding restores every text. */
  readonly isExact: boolean;
}

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
const spacesToSigns = { type: "Replace", pattern: { String: " " }, content: "▁" };
const metaspace = { type: "Metaspace", replacement: "▁", split: true };
const signsToSpaces = {
  type: "Sequence",
  decoders: [
    { type: "Replace", pattern: { String: "▁" }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
  ],
};

/** Pre-tokenizers that work on any text. */
const anyCut = fc.constantFrom<unknown>(
  ...[null, metaspace, { type: "Whitespace" }, { type: "WhitespaceSplit" }, { type: "BertPreTokenizer" }],
  { type: "Digits", individual_digits: true },
  { type: "Punctuation", behavior: "Contiguous" },
  ...["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"].map((behavior) => {
    return { type: "Split", pattern: { String: "b" }, behavior, invert: behavior === "Removed" };
  }),
);
const anyNormalizer = fc.constantFrom<unknown>(
  ...[null, { type: "NFC" }, { type: "NFKC" }, { type: "NFKD" }, { type: "StripAccents" }, spacesToSigns],
  { type: "Strip", strip_left: true, strip_right: true },
  {
    type: "Sequence",
    normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Lowercase" }, spacesToSigns],
  },
  { type: "BertNormalizer", lowercase: true, clean_text: true, handle_chinese_chars: true },
);
const anyDecoder = fc.constantFrom<unknown>(
  ...[null, byteLevel, signsToSpaces, metaspace, { type: "WordPiece", prefix: "##", cleanup: true }],
  { type: "BPEDecoder", suffix: "</w>" },
);

/** Pairs of indices into a vocabulary that grows with every pair. */
const pairs = fc.array(fc.tuple(fc.nat(1000), fc.nat(1000)), { maxLength: 30 });

/** A vocabulary extended by merges, with tokens of up to eight characters, and the merges. */
function grown(
  letters: readonly string[],
  places: readonly (readonly [number, number])[],
): { readonly tokens: readonly string[]; readonly merges: readonly (readonly [string, string])[] } {
  const tokens = [...letters];
  const merges: (readonly [string, string])[] = [];
  for (const place of places) {
    const [left, right] = place.map((at) => tokens[at % tokens.length]!);
    const token = `${left}${right}`;
    if (token.length > 8 || tokens.includes(token)) continue;
    tokens.push(token);
    merges.push([left!, right!]);
  }
  return { tokens, merges };
}

/** A tokenizer.json with a model, whose special tokens have the first ids. */
function tokenizerJson(model: object, steps: object): object {
  return {
    version: "1.0",
    added_tokens: SPECIAL.map((content, id) => ({ id, content, special: true })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...steps,
    model,
  };
}

/** Vocabulary of tokens, with the special tokens first. */
function numbered(tokens: readonly string[]): Readonly<Record<string, number>> {
  return Object.fromEntries([...SPECIAL, ...tokens].map((token, id) => [token, id]));
}

/**
 * The 256 characters of byte-level vocabularies: printable bytes stand for themselves, the others are mapped from
 * U+0100.
 */
const BYTE_LETTERS: readonly string[] = byteLetters();

function byteLetters(): readonly string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    return String.fromCodePoint(isPrintable ? byte : next++);
  });
}

const BYTE_TOKENS = Array.from({ length: 256 }, (_, byte) => {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
});
const LETTERS = ["▁", "a", "b", "c", "1", "\n", "é", "__proto__"];

const byteLevelCuts = fc.constantFrom<unknown>(
  ...[byteLevel, { ...byteLevel, use_regex: true }],
  ...CUT_NAMES.map((name) => {
    return { type: "Sequence", pretokenizers: [...wordCutByName(name, "x").steps, byteLevel] };
  }),
);
const byteLevelBpe = fc
  .record({ cut: byteLevelCuts, places: pairs, whole: fc.boolean() })
  .map(({ cut, places, whole }): SoundTokenizer => {
    const { tokens, merges } = grown(BYTE_LETTERS, places);
    const model = { type: "BPE", vocab: numbered(tokens), merges, ignore_merges: whole };
    return { json: tokenizerJson(model, { pre_tokenizer: cut, decoder: byteLevel }), isExact: true };
  });

/** Ways of marking spaces that decoding can undo. */
const exactSpaces = fc.constantFrom(
  { normalizer: spacesToSigns },
  { pre_tokenizer: { ...metaspace, prepend_scheme: "never" } },
  { pre_tokenizer: { ...metaspace, prepend_scheme: "never", split: false } },
);
const sentencePieceBpe = fc.tuple(exactSpaces, pairs).map(([spaces, places]): SoundTokenizer => {
  const { tokens, merges } = grown(LETTERS, places);
  const vocab = numbered([...BYTE_TOKENS, ...tokens]);
  const model = { type: "BPE", vocab, merges, unk_token: "<unk>", byte_fallback: true, fuse_unk: true };
  return { json: tokenizerJson(model, { ...spaces, decoder: signsToSpaces }), isExact: true };
});
const unigram = fc
  .record({ spaces: exactSpaces, places: pairs, fallback: fc.boolean() })
  .map(({ spaces, places, fallback }): SoundTokenizer => {
    const { tokens } = grown(LETTERS, places);
    const pieces = [...SPECIAL, ...(fallback ? BYTE_TOKENS : []), ...tokens];
    const vocab = pieces.map((piece, id) => [piece, id < SPECIAL.length ? 0 : -1 - (id % 7)]);
    const model = { type: "Unigram", vocab, unk_id: 2, byte_fallback: fallback };
    return { json: tokenizerJson(model, { ...spaces, decoder: signsToSpaces }), isExact: fallback };
  });

const anyModel = pairs.chain((places) => {
  const { tokens, merges } = grown([...LETTERS, "##a", "##b"], places);
  const shared = { vocab: numbered(tokens), unk_token: "<unk>" };
  return fc.constantFrom<object>(
    { type: "WordLevel", ...shared },
    { type: "WordPiece", ...shared, continuing_subword_prefix: "##", max_input_chars_per_word: 100 },
    { type: "BPE", ...shared, merges, end_of_word_suffix: "</w>" },
    { type: "BPE", ...shared, merges: merges.map((merge) => merge.join(" ")), byte_fallback: false },
  );
});
const anyKind = fc
  .record({ model: anyModel, normalizer: anyNormalizer, pre_tokenizer: anyCut, decoder: anyDecoder })
  .map(({ model, ...steps }): SoundTokenizer => ({ json: tokenizerJson(model, steps), isExact: false }));

export const soundTokenizers: fc.Arbitrary<SoundTokenizer> = fc.oneof(
  byteLevelBpe,
  sentencePieceBpe,
  unigram,
  anyKind,
);
