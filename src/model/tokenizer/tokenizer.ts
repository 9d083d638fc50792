/**
 * Text to token ids and back. Errors and slowness of the library (engine.ts) are corrected in the tokenizer.json that
 * it is given (`tuned`), never in the file that is carried to the output.
 *
 * Text is data: no BOS or EOS is added, but a special token that is spelled out in a text becomes that token, as in
 * transformers.
 */
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import { concatenated } from "../../tensor/integers.ts";
import type { CarriedFile, Model } from "../model.ts";
import { MAX_ADDED, withAddedTokens } from "./added_tokens.ts";
import {
  correctedReplace,
  correctedStep,
  isolate,
  sequence,
  stepSchema,
  type TokenizerStep,
} from "./corrections.ts";
import {
  directEngine,
  guardedEngine,
  type SectionEngine,
  type TokenizerEngine,
  unknownTokenizer,
} from "./engine.ts";
import {
  hasSmallIds,
  ofModel,
  parseTokenizerFile as parse,
  specialToken,
  specialTokenText,
  tokenId,
} from "./files.ts";
import { haveKnownExpressions, nodesOf } from "./steps.ts";
import { CHARACTER_BYTES, type Parting, partingOf, partsOf } from "./text_parts.ts";
import { unigramPieces, withByteFallback } from "./unigram.ts";
import { cuttingLongWords, isQuick, WORD_CUT } from "./word_limits.ts";

const tokenizerSchema = z.looseObject({
  added_tokens: z
    .array(
      z.looseObject({
        id: tokenId,
        content: z.string(),
        single_word: z.boolean().nullish(),
        special: z.boolean().nullish(),
        normalized: z.boolean().nullish(),
        lstrip: z.boolean().nullish(),
        rstrip: z.boolean().nullish(),
      }),
    )
    .default([]),
  normalizer: stepSchema.nullish().default(null),
  pre_tokenizer: stepSchema.nullish().default(null),
  post_processor: stepSchema.nullish().default(null),
  decoder: stepSchema.nullish().default(null),
  model: z.looseObject({ type: z.string().optional(), vocab: z.custom(hasSmallIds, "ids below 2^24") }),
});
type TokenizerJson = z.infer<typeof tokenizerSchema>;

const configSchema = z.looseObject({ bos_token: specialToken, eos_token: specialToken });
type TokenizerConfig = z.infer<typeof configSchema>;
const generationSchema = z.looseObject({
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
});
type GenerationConfig = z.infer<typeof generationSchema>;

/** Files of tokenizers that transformers can convert to a tokenizer.json. */
const SLOW_FILES: ReadonlySet<string> = new Set(["tokenizer.model", "vocab.json"]);

/** A model's tokenizer: text to token ids and back. */
export class Tokenizer {
  /** Ids that end a text, from tokenizer_config.json and generation_config.json, ascending. */
  readonly eosIds: readonly number[];
  /** Id that starts a text, null for tokenizers without one. */
  readonly bosId: number | null;
  /**
   * Id that is the context where there is no other, as `prefix_token_id` in lm-evaluation-harness: the BOS token of
   * tokenizer_config.json, else its EOS token; null for tokenizers without either.
   */
  readonly prefixId: number | null;
  /** Whether transformers puts `bosId` before a text by default. */
  readonly addsBos: boolean;
  /** Whether transformers puts an ending id after a text by default. */
  readonly addsEos: boolean;
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly #engine: TokenizerEngine;
  readonly #parting: Parting | null;

  private constructor(
    { engine, parting }: { readonly engine: TokenizerEngine; readonly parting: Parting | null },
    config: TokenizerConfig,
    generation: GenerationConfig,
  ) {
    this.#engine = engine;
    this.#parting = parting;
    const [bos, eos] = [idOf(engine, config.bos_token), idOf(engine, config.eos_token)];
    const eosIds = [generation.eos_token_id, eos].flat().filter((id) => typeof id === "number");
    const bosIds = [generation.bos_token_id ?? undefined, bos].filter((id) => id !== undefined);
    const added = engine.around;
    // Where the files disagree, the id that the tokenizer itself puts before texts counts.
    this.bosId = bosIds.find((id) => id === added[0]) ?? bosIds[0] ?? null;
    this.eosIds = [...new Set(eosIds)].sort((a, b) => a - b);
    this.prefixId = bos ?? eos ?? this.bosId ?? this.eosIds[0] ?? null;
    this.addsBos = this.bosId !== null && added[0] === this.bosId;
    this.addsEos = this.eosIds.includes(added.slice(this.addsBos ? 1 : 0).at(-1) ?? -1);
    this.vocabSize = engine.largestId + 1;
  }

  /** Bytes of memory that `encode` holds for each character of a long text, approximately. */
  get characterBytes(): number {
    return this.#parting === null ? CHARACTER_BYTES.whole : CHARACTER_BYTES.inParts;
  }

  /** Id that transformers puts before a text by default; null for none. */
  get leadingId(): number | null {
    return this.addsBos ? this.bosId : null;
  }

  /** A model's tokenizer. @throws GpruneError as `fromFiles`, with the model's name before the file's */
  static of(model: Pick<Model, "files" | "origin">): Tokenizer {
    return ofModel(model, () => Tokenizer.fromFiles(model.files, model));
  }

  /**
   * @param files - tokenizer.json; tokenizer_config.json and generation_config.json if present
   * @param owner - the model that later errors name
   * @throws GpruneError NOT_FOUND without tokenizer.json, BAD_FILE for a malformed file, UNSUPPORTED for parts that
   *   the library does not know or that lengthen texts without end
   */
  static fromFiles(files: readonly CarriedFile[], owner?: Pick<Model, "origin">): Tokenizer {
    const json = parse(files, "tokenizer.json", tokenizerSchema);
    if (json === undefined) {
      throw new GpruneError(
        "NOT_FOUND",
        "tokenizer.json: expected a tokenizer beside the weights, got no such file",
        {
          hint: files.some(({ name }) => SLOW_FILES.has(name))
            ? "Create it with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)."
            : "Put the tokenizer.json of the original model next to its weights.",
        },
      );
    }
    const config = parse(files, "tokenizer_config.json", configSchema) ?? {};
    const generation = parse(files, "generation_config.json", generationSchema) ?? {};
    requireKnownModel(json);
    requireKnownAdded(json);
    const isReviewed = haveKnownExpressions([json.normalizer, json.pre_tokenizer, json.decoder]);
    const pieces = unigramPieces(json.model);
    const makeEngine = isReviewed && isQuick(json, pieces) ? directEngine : guardedEngine;
    const open = (file: TokenizerJson): SectionEngine =>
      withByteFallback(makeEngine({ json: file, config: withUnknown(config, json) }), json.model);
    try {
      const file = tuned(json, pieces);
      const whole = cuttingLongWords(open(file), () => open(withCut(file, WORD_CUT)));
      const marksStart = nodesOf(json.pre_tokenizer).some((node) => node.prepend_scheme === "first");
      const found = withAddedTokens(whole, json.added_tokens, marksStart);
      const engine = owner === undefined ? found : engineOf(owner, found);
      const parting = partingOf(json, () => splitsAtSpaces(json) || endsAtSpaces(json, pieces));
      return new Tokenizer({ engine, parting }, config, generation);
    } catch (cause) {
      throw cause instanceof GpruneError ? cause : unknownTokenizer(cause);
    }
  }

  /**
   * Token ids of a text, without added BOS or EOS. Words of more than 2^18 characters are cut.
   * @param enough - ids after which the rest of a long text may be left out
   * @throws GpruneError UNSUPPORTED when regular expressions of the file's own take too long, BAD_TEXT for a part of
   *   the text that no token stands for
   */
  encode(text: string, enough: number = Number.POSITIVE_INFINITY): Int32Array {
    if (this.#parting === null) return this.#encodePart(text);
    const parts: Int32Array[] = [];
    let count = 0;
    for (const part of partsOf(text, this.#parting)) {
      const ids = this.#encodePart(part);
      parts.push(ids);
      count += ids.length;
      if (count >= enough) break;
    }
    return concatenated(parts);
  }

  #encodePart(text: string): Int32Array {
    const ids = this.#engine.encode(text);
    // The id for unknown words is the file's, which may be no token's.
    if (ids.every((id) => Number.isInteger(id) && id >= 0 && id < this.vocabSize))
      return Int32Array.from(ids);
    throw new GpruneError("BAD_TEXT", "text: expected words in the vocabulary, got one without a token", {
      hint: "The tokenizer has no token for unknown words; use the tokenizer of the original model.",
    });
  }

  /**
   * Text of token ids, special tokens included; ids beyond the last token are skipped, as in tokenizers (Rust). The
   * library loses a U+FEFF that is spelled in byte tokens.
   */
  decode(ids: ArrayLike<number>): string {
    const tokenIds = Array.from(ids).filter((id) => id < this.vocabSize);
    return tokenIds.length === 0 ? "" : this.#engine.decode(tokenIds);
  }
}

const CONFIG = "tokenizer_config.json";
/** Files that decide about tokens. */
const FILES = ["tokenizer.json", CONFIG, "generation_config.json"] as const;

/**
 * Whether two models' tokenizers are the same: their files are equal byte by byte or, of tokenizer_config.json, in all
 * settings but the class.
 */
export function isSameTokenizer(a: readonly CarriedFile[], b: readonly CarriedFile[]): boolean {
  return FILES.every((name) => {
    const [fileA, fileB] = [a, b].map((files) => files.find((file) => file.name === name));
    if (fileA === undefined || fileB === undefined) return fileA === fileB;
    if (Buffer.compare(fileA.bytes, fileB.bytes) === 0) return true;
    return name === CONFIG && isDeepStrictEqual(settingsIn(fileA), settingsIn(fileB));
  });
}

/** Settings of a configuration, without the class that transformers loads the tokenizer with. */
function settingsIn(file: CarriedFile): unknown {
  const { tokenizer_class: _, ...settings } = parse([file], CONFIG, z.looseObject({})) ?? {};
  return settings;
}

/** The engine of a model's tokenizer, whose errors name the model. */
function engineOf(model: Pick<Model, "origin">, engine: TokenizerEngine): TokenizerEngine {
  return {
    ...engine,
    encode: (text) => ofModel(model, () => engine.encode(text)),
    decode: (ids) => ofModel(model, () => engine.decode(ids)),
  };
}

function idOf(engine: TokenizerEngine, token: z.infer<typeof specialToken>): number | undefined {
  const content = specialTokenText(token);
  return content === undefined ? undefined : engine.idOf(content);
}

/** The models of tokenizers (Rust). Old files name none, and the library recognises which it is. */
const MODEL_TYPES: ReadonlySet<string> = new Set(["BPE", "Unigram", "WordPiece", "WordLevel"]);

/**
 * @throws GpruneError UNSUPPORTED for another model, which the library takes for one of those, and for a prefix of
 *   continued words, which it ignores when it merges
 */
function requireKnownModel({ model }: TokenizerJson): void {
  const { type, continuing_subword_prefix: prefix } = model;
  if (type !== undefined && !MODEL_TYPES.has(type)) {
    const known = [...MODEL_TYPES].join(", ");
    throw new GpruneError(
      "UNSUPPORTED",
      `tokenizer.json: model.type: expected one of ${known}, got ${plainName(type)}`,
    );
  }
  if (type !== "BPE" || typeof prefix !== "string" || prefix === "") return;
  throw new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected BPE without continuing_subword_prefix, got ${plainName(prefix)}`,
  );
}

/** @throws GpruneError UNSUPPORTED for added tokens that must not match inside words, or are too long */
function requireKnownAdded({ added_tokens: added }: TokenizerJson): void {
  const longest = added.reduce((length, { content }) => Math.max(length, content.length), 0);
  if (longest > MAX_ADDED) {
    const expected = `expected added tokens of at most ${MAX_ADDED} characters`;
    throw new GpruneError("UNSUPPORTED", `tokenizer.json: ${expected}, got ${longest}`);
  }
  const token = added.find(({ single_word: alone }) => alone === true);
  if (token === undefined) return;
  const message = `tokenizer.json: expected added tokens without single_word, got ${plainName(token.content)}`;
  throw new GpruneError("UNSUPPORTED", message, {
    hint: "If the token may match inside words, set its single_word to false.",
  });
}

/** The library reads the token for unknown words of whole-word vocabularies from the configuration only. */
function withUnknown(config: TokenizerConfig, { model }: TokenizerJson): TokenizerConfig {
  return model.type === "WordLevel" ? { ...config, unk_token: model.unk_token } : config;
}

/** The tokenizer.json for the library: it gives the tokens of tokenizers (Rust) for every text, and faster. */
function tuned(file: TokenizerJson, pieces: readonly string[] | null): TokenizerJson {
  const json = {
    ...file,
    normalizer: file.normalizer && correctedReplace(file.normalizer),
    decoder: file.decoder && correctedReplace(file.decoder),
  };
  const step = json.pre_tokenizer && correctedStep(json.pre_tokenizer);
  const correct = { ...json, pre_tokenizer: step };
  if (cutsWords(step) && pieces === null) return correct;
  // Without a cut the text is one word.
  return withCut(correct, spaceCut(json, pieces) ?? WORD_CUT);
}

function withCut(json: TokenizerJson, cut: TokenizerStep): TokenizerJson {
  const { pre_tokenizer: step } = json;
  return { ...json, pre_tokenizer: sequence(step == null ? [cut] : [step, cut]) };
}

/** Whether a step already cuts texts into short words, as those of all byte-level tokenizers do. */
function cutsWords(step: TokenizerStep | null): boolean {
  return step?.type === "Sequence" || step?.type === "ByteLevel";
}

/**
 * A cut into words at spaces. SentencePiece vocabularies merge over the whole text, which is slow and caches nothing,
 * and Unigram's lattice of a long text does not fit on the stack. If no token continues from a word into a space sign,
 * none crosses the boundary before one, and a cut there changes nothing; nor does a cut around line ends that are no
 * part of other Unigram pieces.
 * @returns null when a cut could change tokens
 */
function spaceCut(json: TokenizerJson, pieces: readonly string[] | null): TokenizerStep | null {
  const lineEnd = pieces?.every((piece) => piece === "\n" || !piece.includes("\n")) ? "\\n" : "";
  const orLineEnds = lineEnd === "" ? "" : "|\\n+";
  if (splitsAtSpaces(json)) return isolate(`▁[^▁${lineEnd}]*|[^▁${lineEnd}]+${orLineEnds}`);
  if (endsAtSpaces(json, pieces)) return isolate(`▁*[^▁${lineEnd}]+|▁+${orLineEnds}`);
  return lineEnd === "" ? null : isolate(`[^${lineEnd}]+${orLineEnds}`);
}

function splitsAtSpaces({ pre_tokenizer: step }: TokenizerJson): boolean {
  return step?.type === "Metaspace" && step.split !== false;
}

/** Whether the model merges over whole texts, and no token has a space sign behind another character. */
function endsAtSpaces(
  { model, added_tokens: added }: TokenizerJson,
  pieces: readonly string[] | null,
): boolean {
  if (pieces === null && model.type !== "BPE") return false;
  const addedContents = new Set(added.map((token) => token.content));
  const tokens = pieces ?? Object.keys(Object(model.vocab));
  return !tokens.some((token) => /[^▁]▁/u.test(token) && !addedContents.has(token));
}
