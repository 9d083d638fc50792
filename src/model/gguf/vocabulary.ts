/**
 * The tokenizer of a Hugging Face directory as the metadata of a GGUF file: vocabulary, merges or scores, token types,
 * special tokens and the chat template. Byte-level BPE becomes "gpt2", SentencePiece BPE "llama". The way back is in
 * tokenizer.ts.
 *
 * What llama.cpp wants follows conversion/base.py and llama-vocab.cpp of ggml-org/llama.cpp.
 */
import { z } from "zod";
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
import { ROLE_KEYS, SPACE, TOKEN_TYPE } from "./tokenizer.ts";
import { type GgufTokenizerKind, requireGgufSteps, stepsOf } from "./tokenizer_steps.ts";

export interface GgufVocabularyOptions {
  /** Rows of the embedding matrix; llama.cpp wants as many tokens. */
  readonly vocabSize: number;
  /** Token ids of the configuration, for roles that tokenizer_config.json does not name. */
  readonly fallbackIds: Readonly<Record<string, unknown>>;
  /** llama.cpp's name for the cut into words; found by comparing when absent. */
  readonly pre?: string | undefined;
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
  }),
});
type TokenizerJson = z.infer<typeof tokenizerSchema>;

type TokenizerConfig = z.infer<typeof specialTokens>;

/** Roles of tokens. */
const ROLES = ["bos", "eos", "unk", "pad"] as const;

const PHI3_UNSTRIPPED: readonly string[] = ["<unk>", "<s>", "<|endoftext|>"];

type Entries = readonly (readonly [string, EncodedValue])[];

/** A tokenizer as metadata. */
export interface GgufVocabulary {
  readonly metadata: ReadonlyMap<string, EncodedValue>;
  /** Whether special tokens take the spaces behind them along, as llama.cpp has it of models that are called Phi-3. */
  readonly stripsAsPhi3: boolean;
  /** Added tokens that take spaces beside them along in tokenizer.json, which cannot be said of them in the file. */
  readonly unstripped: readonly string[];
  /** Added tokens that the embedding has no row for, which no model can compute. */
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
 * Metadata of a tokenizer; that of a file without one when there is no tokenizer.json.
 * @throws GpruneError UNSUPPORTED for kinds of tokenizers, their steps and cuts into words that llama.cpp does not
 *   have, BAD_FILE for a malformed file or one whose own vocabulary, added tokens aside, is larger than the model's
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
  const kind = requireKind(json);
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

/** Why llama.cpp cannot have a model's tokenizer; null where it can, where it brings that of a GGUF file, or none. */
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

/** It needs four tokens for that (llama-vocab.cpp), of which three take nothing along. */
function stripsAsPhi3({ added_tokens }: TokenizerJson, { idOf }: Vocabulary): boolean {
  const others = added_tokens.filter(({ content, special }) => special && !PHI3_UNSTRIPPED.includes(content));
  const stripping = others.filter(({ rstrip }) => rstrip).length;
  return [...PHI3_UNSTRIPPED, "</s>"].every((token) => idOf.has(token)) && stripping > others.length / 2;
}

/** @param strips - whether special tokens take the spaces behind them along */
function unstripped(
  { added_tokens }: TokenizerJson,
  { strips, leftOut }: { readonly strips: boolean; readonly leftOut: readonly string[] },
): readonly string[] {
  const isSaid = ({ content, special, lstrip, rstrip }: TokenizerJson["added_tokens"][number]): boolean => {
    const takesBehind = strips && special && !PHI3_UNSTRIPPED.includes(content);
    return !lstrip && (!rstrip || takesBehind);
  };
  return added_tokens
    .filter((token) => !isSaid(token) && !leftOut.includes(token.content))
    .map(({ content }) => content);
}

/**
 * Tokens of the model and added ones, with names for the rows that have none. Added ones beyond the last row are left
 * out, as llama.cpp's converter does: the small Gemma 3 share a tokenizer with those that see pictures.
 */
function vocabularyOf(
  { model, added_tokens }: TokenizerJson,
  kind: GgufTokenizerKind,
  size: number,
): Vocabulary {
  const idOf = new Map(Object.entries(model.vocab));
  const added = added_tokens.filter(({ id }) => id < size);
  const leftOut = added_tokens.filter(({ id }) => id >= size).map(({ content }) => content);
  for (const content of leftOut) idOf.delete(content);
  const isByte = (token: string): boolean => kind === "llama" && /^<0x[0-9A-F]{2}>$/.test(token);
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
    types[id] = special ? TOKEN_TYPE.control : TOKEN_TYPE.userDefined;
    // llama.cpp looks for these in the text before spaces become signs.
    if (!special) tokens[id] = content.replaceAll(SPACE, " ");
  }
  const unknown = idOf.get(model.unk_token ?? "");
  if (unknown !== undefined && kind === "llama") types[unknown] = TOKEN_TYPE.unknown;
  return { tokens, types, idOf, leftOut };
}

/**
 * tokenizer.ggml.model. @throws GpruneError UNSUPPORTED for another kind of tokenizer, and for steps that this kind
 * does not take
 */
function requireKind(json: TokenizerJson): GgufTokenizerKind {
  const kind = kindOf(json);
  requireGgufSteps(kind, json, Object.keys(json.model.vocab));
  return kind;
}

function kindOf(json: TokenizerJson): GgufTokenizerKind {
  const kind = knownKind(json);
  if (kind !== null) return kind;
  throw new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected byte-level BPE or BPE with byte fallback for llama.cpp, got ${json.model.type}`,
  );
}

function knownKind({ model, pre_tokenizer: cut }: TokenizerJson): GgufTokenizerKind | null {
  if (model.type === "BPE" && model.byte_fallback === true) return "llama";
  return model.type === "BPE" && JSON.stringify(cut ?? null).includes('"ByteLevel"') ? "gpt2" : null;
}

/** What distinguishes the two kinds. */
const KIND_ENTRIES: Readonly<
  Record<GgufTokenizerKind, (json: TokenizerJson, vocabulary: Vocabulary, pre: string | undefined) => Entries>
> = {
  gpt2: ({ model, pre_tokenizer: cut }, _, pre) => [
    ["tokenizer.ggml.pre", text(pre ?? cutName(cut as TokenizerNode, model.ignore_merges === true))],
    ["tokenizer.ggml.merges", texts(mergesOf(model).map(([left, right]) => `${left} ${right}`))],
  ],
  llama: (json, vocabulary, pre) => [
    ["tokenizer.ggml.pre", text(pre ?? "default")],
    ["tokenizer.ggml.scores", f32s(scoresOf(vocabulary, mergesOf(json.model)))],
    ["tokenizer.ggml.add_space_prefix", flag(addsSpace(json))],
  ],
};

/**
 * What to know about a name for the cut into words that was given: that it is not known, or not what the tokenizer
 * does.
 * @returns null when there is nothing
 * @throws GpruneError BAD_FILE for a malformed tokenizer.json
 */
export function cutWarning(files: readonly CarriedFile[], pre: string): string | null {
  if (!isWordCutName(pre)) {
    return `--pre: no cut into words called ${pre} is known here, and llama.cpp loads the file only if it knows one`;
  }
  const json = parseTokenizerFile(files, "tokenizer.json", tokenizerSchema);
  const kind = json === undefined ? null : knownKind(json);
  if (json === undefined || kind === null) return null;
  if (kind === "llama") {
    return pre === "default"
      ? null
      : "--pre: llama.cpp cuts no words for a tokenizer of this kind, so it changes nothing";
  }
  const found = wordCutName(json.pre_tokenizer as TokenizerNode, json.model.ignore_merges === true);
  if (found === undefined || isSameCut(found, pre)) return null;
  return `--pre: tokenizer.json cuts words as ${found} does, not as ${pre}, so that llama.cpp will make other tokens`;
}

function mergesOf({ merges }: TokenizerJson["model"]): readonly (readonly [string, string])[] {
  return merges.map((merge) => (typeof merge === "string" ? splitMerge(merge) : merge));
}

/** The first space ends the left part; older files have pairs as text. */
function splitMerge(merge: string): [string, string] {
  const at = merge.indexOf(" ", 1);
  return [merge.slice(0, at), merge.slice(at + 1)];
}

/** @throws GpruneError UNSUPPORTED for a cut that llama.cpp has no name for */
function cutName(cut: TokenizerNode, ignoreMerges: boolean): string {
  const name = wordCutName(cut, ignoreMerges);
  if (name !== undefined) return name;
  const got = expressionsOf(cut).map((expression) => JSON.stringify(expression));
  throw new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected a cut into words that llama.cpp has a name for, got ${got.join(", then ")}` +
      `${ignoreMerges ? ", words that are tokens staying whole" : ""}`,
    { hint: "If llama.cpp has it, name it as its convert_hf_to_gguf.py does: --pre NAME." },
  );
}

/**
 * llama.cpp joins the neighbours whose join scores best, so a token scores minus the rank of its first merge; those
 * that nothing is joined to come last.
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
 * Whether a space comes before each text: the older normaliser, or the newer step before cutting, which adds one unless
 * it says otherwise (metaspace.rs of tokenizers).
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
    const id = idOf.get(content ?? "") ?? fallback;
    return typeof id === "number" && id >= 0 && id < tokens.length
      ? [[ROLE_KEYS[role], u32(id)] as const]
      : [];
  });
}
