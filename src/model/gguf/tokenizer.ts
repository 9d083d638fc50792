/**
 * The tokenizer of a GGUF file as the files of a Hugging Face directory: tokenizer.json and tokenizer_config.json,
 * rebuilt from vocabulary, merges or scores, and token types. Byte-level BPE ("gpt2"), and SentencePiece BPE with
 * scores ("llama") or merges ("gemma4").
 *
 * Settings that a GGUF lacks follow llama.cpp's behaviour (llama-vocab.cpp) and the tokenizer.json of the models
 * concerned.
 */

import { mapValues } from "../../base/map_values.ts";
import { GpruneError } from "../../errors.ts";
import type { GgufMetadata } from "../../io/formats/gguf_metadata.ts";
import type { CarriedFile } from "../model.ts";
import { requireTemplate } from "../tokenizer/chat_template.ts";
import { type TokenizerNode, wordCutByName } from "../tokenizer/pretokenizers.ts";
import { mergesOfPieces } from "../tokenizer/sentencepiece.ts";

/** Options of {@link tokenizerFilesOfGguf}. */
export interface GgufTokenizerOptions {
  /** The file, for messages. */
  readonly path: string;
  /** Which SentencePiece tokens are joined first: those of better score, or those that come first. */
  readonly mergeOrder: "score" | "position";
  /** Longest sequence of the model, tokens. */
  readonly maxLength: number;
}

/** enum llama_token_type of llama.h. */
export const TOKEN_TYPE = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;
/** SentencePiece's sign for a space, U+2581. */
export const SPACE = "▁";

/** Special tokens that llama.cpp shows, so that its reader of chats finds them (`set_vocab` of conversion/gemma.py). */
export const SHOWN_TOKENS: ReadonlySet<string> = new Set([
  "<|channel>",
  "<channel|>",
  "<|tool_call>",
  "<tool_call|>",
  "<|tool_response>",
  "<tool_response|>",
  '<|"|>',
]);

type SpecialRole = "bos" | "eos" | "unk" | "pad";
/**
 * Keys of special tokens by role; config.json has them under `ROLE_token_id`, tokenizer_config.json under `ROLE_token`.
 */
export const ROLE_KEYS: Readonly<Record<SpecialRole, string>> = {
  bos: "tokenizer.ggml.bos_token_id",
  eos: "tokenizer.ggml.eos_token_id",
  unk: "tokenizer.ggml.unknown_token_id",
  pad: "tokenizer.ggml.padding_token_id",
};

/** Key of the token that ends a turn; llama.cpp stops generating there as well. */
const END_OF_TURN_KEY = "tokenizer.ggml.eot_token_id";

/**
 * The token id under a key; undefined where there is none or no token has it, as in llama.cpp (4294967295 is its -1).
 */
export function specialTokenId(metadata: GgufMetadata, key: string, tokens: number): number | undefined {
  const id = metadata.optionalNumber(key);
  return id !== undefined && id >= 0 && id < tokens ? id : undefined;
}

/** A vocabulary and its metadata, from which tokenizers of both kinds are built. */
interface Vocabulary {
  readonly path: string;
  readonly metadata: GgufMetadata;
  /** Unique, index = id. */
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly special: Readonly<Partial<Record<SpecialRole, string>>>;
}

/** The parts of tokenizer.json that differ between kinds, and whether texts begin with the BOS token. */
interface Parts {
  readonly normalizer: TokenizerNode | null;
  readonly pre_tokenizer: TokenizerNode | null;
  readonly post_processor: TokenizerNode | null;
  readonly decoder: TokenizerNode;
  readonly model: TokenizerNode;
  readonly addBos: boolean;
}

/** Builders by `tokenizer.ggml.model`. */
const BUILDERS: ReadonlyMap<string, (vocabulary: Vocabulary, options: GgufTokenizerOptions) => Parts> =
  new Map([
    ["gpt2", byteLevelParts],
    ["llama", sentencePieceParts],
    ["gemma4", mergedSignsParts],
  ]);

/**
 * tokenizer.json, tokenizer_config.json and perhaps generation_config.json; none for a file without a tokenizer.
 * @throws GpruneError UNSUPPORTED for other kinds of tokenizers, BAD_FILE for an inconsistent vocabulary
 */
export function tokenizerFilesOfGguf(
  metadata: GgufMetadata,
  options: GgufTokenizerOptions,
): readonly CarriedFile[] {
  const kind = metadata.optionalText("tokenizer.ggml.model");
  // llama.cpp writes "none" for models that have no vocabulary.
  if (kind === undefined || kind === "none" || kind === "no_vocab") return [];
  const build = BUILDERS.get(kind);
  if (build === undefined) {
    const known = [...BUILDERS.keys()].join(", ");
    const message = `${options.path}: tokenizer.ggml.model: expected one of ${known}, got ${kind}`;
    throw new GpruneError("UNSUPPORTED", message, { hint: "Use the original Hugging Face checkpoint." });
  }
  const vocabulary = readVocabulary(metadata, options);
  const { addBos, ...parts } = build(vocabulary, options);
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    ...parts,
  };
  const config = tokenizerConfig(vocabulary, { addBos, maxLength: options.maxLength });
  return [
    jsonFile("tokenizer.json", tokenizer),
    jsonFile("tokenizer_config.json", config),
    ...generationConfig(vocabulary),
  ];
}

function readVocabulary(metadata: GgufMetadata, { path, mergeOrder }: GgufTokenizerOptions): Vocabulary {
  const stored = metadata.texts("tokenizer.ggml.tokens");
  const types =
    metadata.optionalNumbers("tokenizer.ggml.token_type", stored.length) ??
    stored.map(() => TOKEN_TYPE.normal);
  // Gemma's files spell runs of spaces with spaces; its merges are over space signs.
  const spelled = mergeOrder === "position" ? stored.map(spellSpaces) : stored;
  // Padding may be nameless; llama.cpp gives it the same names.
  const tokens = spelled.map((token, id) => (token === "" ? `[EMPTY_${id}]` : token));
  const seen = new Set<string>();
  const duplicate = tokens.find((token) => seen.has(token) || !seen.add(token));
  if (duplicate !== undefined) {
    const got = `${JSON.stringify(duplicate)} twice`;
    throw new GpruneError("BAD_FILE", `${path}: tokenizer.ggml.tokens: expected unique tokens, got ${got}`);
  }
  const roles = Object.entries(ROLE_KEYS).flatMap(([role, key]) => {
    const id = specialTokenId(metadata, key, tokens.length);
    return id === undefined ? [] : [[role, tokens[id]!] as const];
  });
  return { path, metadata, tokens, types, special: Object.fromEntries(roles) };
}

function spellSpaces(token: string): string {
  return /^ {2,}$/.test(token) ? SPACE.repeat(token.length) : token;
}

function byteLevelParts({ path, metadata, tokens, special }: Vocabulary): Parts {
  const cut = wordCutByName(metadata.optionalText("tokenizer.ggml.pre") ?? "default", path);
  const addBos = metadata.optionalFlag("tokenizer.ggml.add_bos_token") ?? cut.addBos;
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    normalizer: cut.normalizer,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...cut.steps, byteLevel] },
    post_processor: addBos ? bosTemplate(tokens, special.bos) : { ...byteLevel, trim_offsets: false },
    decoder: { ...byteLevel, add_prefix_space: true, use_regex: true },
    model: bpeModel(tokens, {
      merges: mergesIn(metadata, path),
      unknown: null,
      byteFallback: false,
      ignoreMerges: cut.ignoreMerges,
    }),
    addBos,
  };
}

/** The merges of a file, as pairs. @throws GpruneError BAD_FILE for others */
function mergesIn(metadata: GgufMetadata, path: string): readonly (readonly [string, string])[] {
  return metadata.texts("tokenizer.ggml.merges").map((merge) => {
    const pair = mergePair(merge);
    if (pair !== null) return pair;
    const got = JSON.stringify(merge);
    throw new GpruneError("BAD_FILE", `${path}: tokenizer.ggml.merges: expected pairs of tokens, got ${got}`);
  });
}

/**
 * A merge that is written as text: its first space ends the left part, since neither byte-level tokens nor those with
 * space signs have one. Null for a text that is no pair.
 */
export function mergePair(merge: string): readonly [left: string, right: string] | null {
  const at = merge.indexOf(" ", 1);
  return at > 0 && at < merge.length - 1 ? [merge.slice(0, at), merge.slice(at + 1)] : null;
}

/** As Llama 2's tokenizer.json: a space before each text, spaces as signs, unknown characters as bytes. */
function sentencePieceParts(vocabulary: Vocabulary, { path, mergeOrder }: GgufTokenizerOptions): Parts {
  const { metadata, tokens, types } = vocabulary;
  const scores = metadata.optionalNumbers("tokenizer.ggml.scores", tokens.length);
  if (scores === undefined) {
    throw new GpruneError(
      "BAD_FILE",
      `${path}: tokenizer.ggml.scores: expected a score for each token, got none`,
    );
  }
  const priorities = mergeOrder === "score" ? scores : tokens.map((_, id) => -id);
  const unjoinable: readonly number[] = [TOKEN_TYPE.unknown, TOKEN_TYPE.control, TOKEN_TYPE.byte];
  const merges = mergesOfPieces(tokens, priorities, (id) => !unjoinable.includes(types[id]!));
  const prefix = metadata.optionalFlag("tokenizer.ggml.add_space_prefix") ?? true;
  const addBos = metadata.optionalFlag("tokenizer.ggml.add_bos_token") ?? true;
  return spaceSignParts(vocabulary, { merges, prefix, addBos });
}

/** As Gemma's tokenizer.json; llama.cpp puts the BOS token before all texts, and never a space. */
function mergedSignsParts(vocabulary: Vocabulary, { path }: GgufTokenizerOptions): Parts {
  const merges = mergesIn(vocabulary.metadata, path);
  return spaceSignParts(vocabulary, { merges, prefix: false, addBos: true });
}

/** BPE of whole texts in which signs stand for spaces. */
function spaceSignParts(
  { tokens, types, special }: Vocabulary,
  {
    merges,
    prefix,
    addBos,
  }: {
    readonly merges: readonly (readonly [string, string])[];
    /** A space is put before each text. */
    readonly prefix: boolean;
    readonly addBos: boolean;
  },
): Parts {
  const toSigns = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const toSpaces = { type: "Replace", pattern: { String: SPACE }, content: " " };
  return {
    normalizer: prefix ? sequence("normalizers", [{ type: "Prepend", prepend: SPACE }, toSigns]) : toSigns,
    pre_tokenizer: null,
    post_processor: addBos ? bosTemplate(tokens, special.bos) : null,
    decoder: sequence("decoders", [
      toSpaces,
      { type: "ByteFallback" },
      { type: "Fuse" },
      ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
    ]),
    model: bpeModel(tokens, {
      merges,
      unknown: special.unk ?? tokens[types.indexOf(TOKEN_TYPE.unknown)] ?? null,
      byteFallback: true,
      ignoreMerges: false,
    }),
    addBos,
  };
}

function sequence(key: "normalizers" | "decoders", steps: readonly TokenizerNode[]): TokenizerNode {
  return { type: "Sequence", [key]: steps };
}

interface BpeOptions {
  readonly merges: readonly (readonly [string, string])[];
  readonly unknown: string | null;
  readonly byteFallback: boolean;
  readonly ignoreMerges: boolean;
}

function bpeModel(tokens: readonly string[], options: BpeOptions): TokenizerNode {
  return {
    type: "BPE",
    dropout: null,
    unk_token: options.unknown,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: options.byteFallback,
    byte_fallback: options.byteFallback,
    ignore_merges: options.ignoreMerges,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges: options.merges,
  };
}

/** Puts the BOS token before a text, unless the file has none. */
function bosTemplate(tokens: readonly string[], bos: string | undefined): TokenizerNode | null {
  if (bos === undefined) return null;
  const token = { SpecialToken: { id: bos, type_id: 0 } };
  const text = (id: "A" | "B", type: number): TokenizerNode => ({ Sequence: { id, type_id: type } });
  return {
    type: "TemplateProcessing",
    single: [token, text("A", 0)],
    pair: [token, text("A", 0), { SpecialToken: { id: bos, type_id: 1 } }, text("B", 1)],
    special_tokens: { [bos]: { id: bos, ids: [tokens.indexOf(bos)], tokens: [bos] } },
  };
}

/** Tokens that are matched in a text before any other step. */
function addedTokens({ metadata, tokens, types, special }: Vocabulary): readonly TokenizerNode[] {
  const shown = metadata.optionalText("tokenizer.ggml.model") === "gemma4" ? SHOWN_TOKENS : [];
  const roles = new Set([...Object.values(special), ...shown]);
  return tokens.flatMap((content, id) => {
    const type = types[id]!;
    const isSpecial = type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown || roles.has(content);
    if (!isSpecial && type !== TOKEN_TYPE.userDefined) return [];
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...plain, special: isSpecial }];
  });
}

function tokenizerConfig(
  { path, metadata, special }: Vocabulary,
  { addBos, maxLength }: { readonly addBos: boolean; readonly maxLength: number },
): TokenizerNode {
  const key = "tokenizer.chat_template";
  const template = metadata.optionalText(key);
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    // Without this transformers 4 adds token_type_ids, which no decoder takes.
    model_input_names: ["input_ids", "attention_mask"],
    model_max_length: maxLength,
    clean_up_tokenization_spaces: false,
    add_bos_token: addBos,
    add_eos_token: metadata.optionalFlag("tokenizer.ggml.add_eos_token") ?? false,
    ...Object.fromEntries(Object.entries(special).map(([role, token]) => [`${role}_token`, token])),
    ...(template === undefined ? {} : { chat_template: requireTemplate(template, `${path}: ${key}`) }),
  };
}

/**
 * generation_config.json for a model with a second end token, that of a chat's turn: tokenizer_config.json has room for
 * only one. None where the file names no second one.
 */
function generationConfig({ metadata, tokens }: Vocabulary): readonly CarriedFile[] {
  const idOf = (key: string): number | undefined => specialTokenId(metadata, key, tokens.length);
  const turn = idOf(END_OF_TURN_KEY);
  const { bos, eos, pad } = mapValues(ROLE_KEYS, idOf);
  if (turn === undefined || turn === eos) return [];
  const ends = eos === undefined ? turn : [eos, turn];
  return [jsonFile("generation_config.json", { bos_token_id: bos, eos_token_id: ends, pad_token_id: pad })];
}

function jsonFile(name: string, value: TokenizerNode): CarriedFile {
  return { name, bytes: Buffer.from(`${JSON.stringify(value)}\n`) };
}
