/**
 * The tokenizer of a Hugging Face directory as the metadata of a GGUF file: vocabulary, merges or scores, token types,
 * special tokens and the chat template. Byte-level BPE becomes "gpt2", SentencePiece BPE "llama", or "gemma4" for Gemma
 * 4. tokenizer.ts is the inverse.
 *
 * After conversion/base.py and llama-vocab.cpp of ggml-org/llama.cpp.
 */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import { type EncodedValue, f32s, flag, i32s, text, texts, u32 } from "../../io/formats/gguf_values.ts";
import type { CarriedFile, Model } from "../model.ts";
import { chatTemplateIn } from "../tokenizer/chat_template.ts";
import {
  hasSmallIds,
  parseTokenizerFile,
  specialTokens,
  specialTokenText,
  tokenId,
} from "../tokenizer/files.ts";
import {
  expressionsOf,
  isSameCut,
  isWordCutName,
  type TokenizerNode,
  wordCutName,
} from "../tokenizer/pretokenizers.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { mergePair, ROLE_KEYS, SHOWN_TOKENS, SPACE, TOKEN_TYPE } from "./tokenizer.ts";
import { type GgufTokenizerKind, requireGgufSteps, stepsOf } from "./tokenizer_steps.ts";

export interface GgufVocabularyOptions {
  /** V, rows of the embedding matrix; llama.cpp wants as many tokens. */
  readonly vocabSize: number;
  /** Token ids of the configuration, for roles that tokenizer_config.json does not name. */
  readonly fallbackIds: Readonly<Record<string, unknown>>;
  /** llama.cpp's name for the cut into words; found by comparing when absent. */
  readonly pre?: string | undefined;
  /** SentencePiece BPE is written with its merges, as in files of Gemma 4, and not with scores. */
  readonly keepsMerges?: boolean;
}

const pair = z.tuple([z.string(), z.string()]);
const tokenizerSchema = z.looseObject({
  added_tokens: z
    .array(
      z.looseObject({
        id: tokenId,
        content: z.string(),
        special: z.boolean().default(false),
        lstrip: z.boolean().default(false),
        rstrip: z.boolean().default(false),
      }),
    )
    .default([]),
  normalizer: z.looseObject({ type: z.string() }).nullish(),
  pre_tokenizer: z.looseObject({ type: z.string() }).nullish(),
  model: z.looseObject({
    type: z.string().default("BPE"),
    vocab: z.custom<Readonly<Record<string, number>>>(hasSmallIds, "ids below 2^24"),
    merges: z.array(z.union([z.string(), pair])).default([]),
    unk_token: z.string().nullish(),
    byte_fallback: z.boolean().nullish(),
    ignore_merges: z.boolean().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
});
type TokenizerJson = z.infer<typeof tokenizerSchema>;

type TokenizerConfig = z.infer<typeof specialTokens>;

const ROLES = ["bos", "eos", "unk", "pad"] as const;

/** Special tokens that keep the spaces behind them where llama.cpp strips as in Phi-3 (llama-vocab.cpp). */
const PHI3_UNSTRIPPED: readonly string[] = ["<unk>", "<s>", "<|endoftext|>"];

type Entries = readonly (readonly [string, EncodedValue])[];

/** A tokenizer as metadata, and its added tokens that cannot be expressed there. */
export interface GgufVocabulary {
  readonly metadata: ReadonlyMap<string, EncodedValue>;
  /** Whether special tokens strip the spaces behind them, which llama.cpp does in models called Phi-3. */
  readonly stripsAsPhi3: boolean;
  /** Added tokens that strip spaces beside them in tokenizer.json, but not in the file. */
  readonly unstripped: readonly string[];
  /** Added tokens without a row in the embedding, which the model cannot compute. */
  readonly leftOut: readonly string[];
}

/** A vocabulary by id. */
interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly idOf: ReadonlyMap<string, number>;
  readonly leftOut: readonly string[];
}

/**
 * Metadata of a tokenizer; without tokenizer.json, that of a file without one.
 * @throws GpruneError UNSUPPORTED for kinds of tokenizers, their steps and cuts into words that llama.cpp does not
 *   have, BAD_FILE for a malformed file or one whose vocabulary, added tokens aside, is larger than the model's
 */
export function ggufVocabularyOf(
  files: readonly CarriedFile[],
  options: GgufVocabularyOptions,
): GgufVocabulary {
  const json = parseTokenizerFile(files, "tokenizer.json", tokenizerSchema);
  if (json === undefined) {
    const metadata = new Map([["tokenizer.ggml.model", text("none")]]);
    return { metadata, stripsAsPhi3: false, unstripped: [], leftOut: [] };
  }
  const config = parseTokenizerFile(files, "tokenizer_config.json", specialTokens) ?? {};
  const found = requireKind(json);
  const kind = found === "llama" && options.keepsMerges && !addsSpace(json) ? "gemma4" : found;
  const vocabulary = vocabularyOf(json, kind, options.vocabSize);
  const { addsBos, addsEos } = Tokenizer.fromFiles(files);
  const template = chatTemplateIn(files);
  const metadata = new Map<string, EncodedValue>([
    ["tokenizer.ggml.model", text(kind)],
    ...KIND_ENTRIES[kind](json, vocabulary, options.pre),
    ["tokenizer.ggml.tokens", texts(vocabulary.tokens)],
    ["tokenizer.ggml.token_type", i32s(vocabulary.types)],
    ...roleEntries(vocabulary, config, options),
    ["tokenizer.ggml.add_bos_token", flag(addsBos)],
    ["tokenizer.ggml.add_eos_token", flag(addsEos)],
    ...(template === undefined ? [] : [["tokenizer.chat_template", text(template)] as const]),
  ]);
  const strips = stripsAsPhi3(json, vocabulary);
  const { leftOut } = vocabulary;
  return { metadata, stripsAsPhi3: strips, unstripped: unstripped(json, { strips, leftOut }), leftOut };
}

/** Why llama.cpp cannot have a model's tokenizer; null where it can, or the model has that of a GGUF file or none. */
export function ggufTokenizerObstacle({
  files,
  ggufMetadata,
}: Pick<Model, "files" | "ggufMetadata">): string | null {
  if (ggufMetadata?.has("tokenizer.ggml.model")) return null;
  try {
    const json = parseTokenizerFile(files, "tokenizer.json", tokenizerSchema);
    if (json !== undefined) requireKind(json);
    return null;
  } catch (error) {
    if (error instanceof GpruneError) return error.message;
    throw error;
  }
}

/** Whether most special tokens strip, and the vocabulary has the four tokens without which llama.cpp does not. */
function stripsAsPhi3({ added_tokens }: TokenizerJson, { idOf }: Vocabulary): boolean {
  const others = added_tokens.filter(({ content, special }) => special && !PHI3_UNSTRIPPED.includes(content));
  const stripping = others.filter(({ rstrip }) => rstrip).length;
  return [...PHI3_UNSTRIPPED, "</s>"].every((token) => idOf.has(token)) && stripping > others.length / 2;
}

/** @param strips - whether llama.cpp strips the spaces behind special tokens */
function unstripped(
  { added_tokens }: TokenizerJson,
  { strips, leftOut }: { readonly strips: boolean; readonly leftOut: readonly string[] },
): readonly string[] {
  const isKept = ({ content, special, lstrip, rstrip }: TokenizerJson["added_tokens"][number]): boolean => {
    const stripsBehind = strips && special && !PHI3_UNSTRIPPED.includes(content);
    return !lstrip && (!rstrip || stripsBehind);
  };
  return added_tokens
    .filter((token) => !isKept(token) && !leftOut.includes(token.content))
    .map(({ content }) => content);
}

/**
 * Tokens of the vocabulary and added ones, with names for the rows that have none. Added ones beyond the last row are
 * left out, as by llama.cpp's converter: the small Gemma 3 models share a tokenizer with the multimodal ones.
 */
function vocabularyOf(
  { model, added_tokens }: TokenizerJson,
  kind: keyof typeof KIND_ENTRIES,
  size: number,
): Vocabulary {
  const idOf = new Map(Object.entries(model.vocab));
  const added = added_tokens.filter(({ id }) => id < size);
  const leftOut = added_tokens.filter(({ id }) => id >= size).map(({ content }) => content);
  for (const content of leftOut) idOf.delete(content);
  const isByte = (token: string): boolean => kind !== "gpt2" && /^<0x[0-9A-F]{2}>$/.test(token);
  for (const { id, content } of added) idOf.set(content, id);
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`);
  const types: number[] = tokens.map(() => TOKEN_TYPE.unused);
  for (const [token, id] of idOf) {
    if (id >= size) {
      const message = `tokenizer.json: expected ids below the ${size} rows of the embedding, got ${id}`;
      throw new GpruneError("BAD_FILE", message, { hint: "The tokenizer must come from the same model." });
    }
    tokens[id] = token;
    types[id] = isByte(token) ? TOKEN_TYPE.byte : TOKEN_TYPE.normal;
  }
  for (const { id, content, special } of added) {
    const isHidden = special && !(kind === "gemma4" && SHOWN_TOKENS.has(content));
    types[id] = isHidden ? TOKEN_TYPE.control : TOKEN_TYPE.userDefined;
    // llama.cpp looks for these in the text before spaces become signs.
    if (!special) tokens[id] = content.replaceAll(SPACE, " ");
  }
  const unknown = idOfText(idOf, model.unk_token);
  if (unknown !== undefined && kind !== "gpt2") types[unknown] = TOKEN_TYPE.unknown;
  return { tokens, types, idOf, leftOut };
}

/** The id of a token; none where none is named, even if the vocabulary has a token without text. */
function idOfText(idOf: Vocabulary["idOf"], content: string | null | undefined): number | undefined {
  return content == null ? undefined : idOf.get(content);
}

/**
 * tokenizer.ggml.model. @throws GpruneError UNSUPPORTED for another kind of tokenizer, and for steps that this kind
 * does not take
 */
function requireKind(json: TokenizerJson): GgufTokenizerKind {
  const kind = kindOf(json);
  if (kind === null) {
    throw new GpruneError(
      "UNSUPPORTED",
      `tokenizer.json: expected byte-level BPE or BPE with byte fallback for llama.cpp, got ${json.model.type}`,
    );
  }
  const { end_of_word_suffix: suffix } = json.model;
  if (suffix) {
    const got = plainName(suffix);
    const message = `tokenizer.json: expected BPE without end_of_word_suffix for llama.cpp, got ${got}`;
    throw new GpruneError("UNSUPPORTED", message);
  }
  requireGgufSteps(kind, json, Object.keys(json.model.vocab));
  return kind;
}

function kindOf({ model, pre_tokenizer: cut }: TokenizerJson): GgufTokenizerKind | null {
  if (model.type === "BPE" && model.byte_fallback === true) return "llama";
  return model.type === "BPE" && JSON.stringify(cut ?? null).includes('"ByteLevel"') ? "gpt2" : null;
}

function mergeEntry(model: TokenizerJson["model"]): Entries[number] {
  return ["tokenizer.ggml.merges", texts(mergesOf(model).map(([left, right]) => `${left} ${right}`))];
}

/** Metadata that differs between the kinds. */
const KIND_ENTRIES: Readonly<
  Record<
    GgufTokenizerKind | "gemma4",
    (json: TokenizerJson, vocabulary: Vocabulary, pre: string | undefined) => Entries
  >
> = {
  gpt2: ({ model, pre_tokenizer: cut }, _, pre) => [
    ["tokenizer.ggml.pre", text(pre ?? cutName(cut as TokenizerNode, model.ignore_merges === true))],
    mergeEntry(model),
  ],
  gemma4: ({ model }) => [mergeEntry(model), ["tokenizer.ggml.add_space_prefix", flag(false)]],
  llama: (json, vocabulary, pre) => [
    ["tokenizer.ggml.pre", text(pre ?? "default")],
    ["tokenizer.ggml.scores", f32s(scoresOf(vocabulary, mergesOf(json.model)))],
    ["tokenizer.ggml.add_space_prefix", flag(addsSpace(json))],
  ],
};

/**
 * A warning about a user's name for the cut into words: that it is unknown, without effect, or another cut than the
 * tokenizer's; null for none.
 * @throws GpruneError BAD_FILE for a malformed tokenizer.json
 */
export function cutWarning(files: readonly CarriedFile[], pre: string): string | null {
  if (!isWordCutName(pre)) {
    return `pre-tokenizer ${pre} is not one that gprune knows; llama.cpp loads the file only if it knows this name`;
  }
  const json = parseTokenizerFile(files, "tokenizer.json", tokenizerSchema);
  const kind = json === undefined ? null : kindOf(json);
  if (json === undefined || kind === null) return null;
  if (kind === "llama") {
    return pre === "default"
      ? null
      : `pre-tokenizer ${pre} has no effect: llama.cpp uses none for this kind of tokenizer`;
  }
  const found = wordCutName(json.pre_tokenizer as TokenizerNode, json.model.ignore_merges === true);
  if (found === undefined || isSameCut(found, pre)) return null;
  return `pre-tokenizer ${pre} differs from that of tokenizer.json (${found}), so llama.cpp will tokenize differently`;
}

function mergesOf({ merges }: TokenizerJson["model"]): readonly (readonly [string, string])[] {
  return merges.map((merge) => (typeof merge === "string" ? splitMerge(merge) : merge));
}

/** Older files have pairs as text. @throws GpruneError BAD_FILE for other text */
function splitMerge(merge: string): readonly [string, string] {
  const pair = mergePair(merge);
  if (pair !== null) return pair;
  const got = JSON.stringify(merge);
  throw new GpruneError("BAD_FILE", `tokenizer.json: expected merges of two tokens, got ${got}`);
}

/** @throws GpruneError UNSUPPORTED for a cut that llama.cpp has no name for */
function cutName(cut: TokenizerNode, ignoreMerges: boolean): string {
  const name = wordCutName(cut, ignoreMerges);
  if (name !== undefined) return name;
  const got = expressionsOf(cut).map((expression) => JSON.stringify(expression));
  throw new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected a pre-tokenizer that llama.cpp has a name for, got ${got.join(", then ")}` +
      `${ignoreMerges ? ", with ignore_merges" : ""}`,
    { hint: "If llama.cpp has it, give its name in convert_hf_to_gguf.py (--pre NAME)." },
  );
}

/**
 * Scores of tokens. llama.cpp merges the neighbours whose merge scores best, so a token's score is minus the rank of
 * its first merge; tokens that no merge gives come last.
 */
function scoresOf(
  { tokens, idOf }: Vocabulary,
  merges: readonly (readonly [string, string])[],
): readonly number[] {
  const scores = tokens.map(() => -merges.length - 1);
  for (const [rank, [left, right]] of merges.entries()) {
    const id = idOf.get(left + right);
    if (id !== undefined) scores[id] = Math.max(scores[id]!, -rank);
  }
  return scores;
}

/**
 * Whether a space is put before each text: by the older Prepend normalizer, or by Metaspace, which does so unless it
 * says otherwise (metaspace.rs of tokenizers).
 */
function addsSpace({ normalizer, pre_tokenizer: cut }: TokenizerJson): boolean {
  return [normalizer, cut].flatMap(stepsOf).some(({ type, prepend_scheme: scheme }) => {
    return type === "Prepend" || (type === "Metaspace" && scheme !== "never");
  });
}

function roleEntries(
  { tokens, idOf }: Vocabulary,
  config: TokenizerConfig,
  { fallbackIds }: GgufVocabularyOptions,
): Entries {
  return ROLES.flatMap((role) => {
    const content = specialTokenText(config[`${role}_token` as const]);
    const fallback = [fallbackIds[`${role}_token_id`]].flat()[0];
    const id = idOfText(idOf, content) ?? fallback;
    return typeof id === "number" && id >= 0 && id < tokens.length
      ? [[ROLE_KEYS[role], u32(id)] as const]
      : [];
  });
}
