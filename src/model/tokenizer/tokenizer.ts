/**
 * Text to token ids and back. What the library (engine.ts) gets wrong or slow is corrected in the
 * tokenizer.json it is given (`tuned`), never in the file that is carried to the output.
 *
 * Text is data: no BOS or EOS is added, but a special token that is spelled out in a text becomes that token, as in
 * transformers.
 */
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError, reasonOf } from "../../errors.ts";
import { concatenated } from "../../tensor/integers.ts";
import type { CarriedFile, Model } from "../model.ts";
import { strippingSpaces, withoutStripping } from "./added_spaces.ts";
import {
  correctedReplace,
  correctedStep,
  isolate,
  sequence,
  stepSchema,
  type TokenizerStep,
} from "./corrections.ts";
import { directEngine, guardedEngine, type TokenizerEngine } from "./engine.ts";
import {
  hasSmallIds,
  ofModel,
  parseTokenizerFile as parse,
  specialToken,
  specialTokenText,
  tokenId,
} from "./files.ts";
import { haveKnownExpressions } from "./steps.ts";
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

/** Files of tokenizers that transformers turns into a tokenizer.json. */
const SLOW_FILES: ReadonlySet<string> = new Set(["tokenizer.model", "vocab.json"]);

/** A model's tokenizer: text to token ids and back. */
export class Tokenizer {
  /** Ids that end a text, from tokenizer_config.json and generation_config.json, ascending. */
  readonly eosIds: readonly number[];
  /** Id that starts a text, null for tokenizers without one. */
  readonly bosId: number | null;
  /**
   * Id that stands for the context where there is none, as `prefix_token_id` in lm-evaluation-harness: what
   * tokenizer_config.json names to begin a text, else to end one; null for tokenizers without either.
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
    const ends = [generation.eos_token_id, eos].flat().filter((id) => typeof id === "number");
    const added = engine.encode("", true);
    // Where the files disagree, what the tokenizer itself puts before texts begins them.
    const named = [generation.bos_token_id ?? undefined, bos].filter((id) => id !== undefined);
    this.bosId = named.find((id) => id === added[0]) ?? named[0] ?? null;
    this.eosIds = [...new Set(ends)].sort((a, b) => a - b);
    this.prefixId = bos ?? eos ?? this.bosId ?? this.eosIds[0] ?? null;
    this.addsBos = this.bosId !== null && added[0] === this.bosId;
    this.addsEos = this.eosIds.includes(added.slice(this.addsBos ? 1 : 0).at(-1) ?? -1);
    this.vocabSize = engine.largestId + 1;
  }

  /** Bytes of memory that `encode` holds for each character of a long text, about. */
  get characterBytes(): number {
    return this.#parting === null ? CHARACTER_BYTES.whole : CHARACTER_BYTES.inParts;
  }

  /** Id that transformers puts before a text by default; null for none. */
  get leadingId(): number | null {
    return this.addsBos ? this.bosId : null;
  }

  /** A model's tokenizer. @throws GpruneError as `fromFiles`, with the model's name before the file's */
  static of(model: Pick<Model, "files" | "origin">): Tokenizer {
    return ofModel(model, () => Tokenizer.fromFiles(model.files));
  }

  /**
   * @param files - tokenizer.json; tokenizer_config.json and generation_config.json where there are any
   * @throws GpruneError NOT_FOUND without tokenizer.json, BAD_FILE for a malformed file, UNSUPPORTED for parts that
   *   the library does not know or that lengthen texts without end
   */
  static fromFiles(files: readonly CarriedFile[]): Tokenizer {
    const json = parse(files, "tokenizer.json", tokenizerSchema);
    if (json === undefined) {
      throw new GpruneError("NOT_FOUND", "tokenizer.json: expected with the model, got no such file", {
        hint: files.some(({ name }) => SLOW_FILES.has(name))
          ? "Have transformers make it of the other files: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)."
          : "Put the tokenizer.json of the original model next to its weights.",
      });
    }
    const config = parse(files, "tokenizer_config.json", configSchema) ?? {};
    const generation = parse(files, "generation_config.json", generationSchema) ?? {};
    requireKnownMerges(json);
    requireFoundAnywhere(json);
    const known = haveKnownExpressions([json.normalizer, json.pre_tokenizer, json.decoder]);
    const pieces = unigramPieces(json.model);
    const run = known && isQuick(json, pieces) ? directEngine : guardedEngine;
    const open = (file: TokenizerJson): TokenizerEngine =>
      withByteFallback(run({ json: file, config: withUnknown(config, json) }), json.model);
    try {
      const file = tuned(json, pieces);
      const whole = cuttingLongWords(open(file), () => open(withCut(file, WORD_CUT)));
      const engine = strippingSpaces(whole, json.added_tokens);
      const parting = partingOf(json, () => splitsAtSpaces(json) || endsAtSpaces(json, pieces));
      return new Tokenizer({ engine, parting }, config, generation);
    } catch (cause) {
      if (cause instanceof GpruneError) throw cause;
      const reason = reasonOf(cause);
      throw new GpruneError("UNSUPPORTED", `tokenizer.json: expected a known tokenizer, got ${reason}`, {
        cause,
      });
    }
  }

  /**
   * Token ids of a text, without tokens that the text does not contain. Words of more than 2^18 characters are cut.
   * @throws GpruneError UNSUPPORTED when regular expressions of the file's own do not come to an end in time, BAD_TEXT
   *   for a part of the text that no token stands for
   */
  encode(text: string): Int32Array {
    if (this.#parting === null) return this.#encodePart(text);
    return concatenated(Array.from(partsOf(text, this.#parting), (part) => this.#encodePart(part)));
  }

  #encodePart(text: string): Int32Array {
    const ids = this.#engine.encode(text, false);
    // The id for unknown words is what the file says, which may be none.
    if (ids.every((id) => Number.isInteger(id) && id >= 0 && id < this.vocabSize))
      return Int32Array.from(ids);
    throw new GpruneError("BAD_TEXT", "text: expected words of the vocabulary, got one that has no token", {
      hint: "The tokenizer has no token for unknown words; use that of the original model.",
    });
  }

  /**
   * Text of token ids, special tokens included; ids beyond the last token are nothing, as in tokenizers (Rust). The
   * library loses a U+FEFF that is spelled in byte tokens.
   */
  decode(ids: ArrayLike<number>): string {
    const known = Array.from(ids).filter((id) => id < this.vocabSize);
    return known.length === 0 ? "" : this.#engine.decode(known);
  }
}

/** Files that decide about tokens. */
const CONFIG = "tokenizer_config.json";
const FILES = ["tokenizer.json", CONFIG, "generation_config.json"] as const;

/**
 * Whether two models' tokenizers are the same: their files byte by byte, or in all that the configurations say to us.
 */
export function isSameTokenizer(a: readonly CarriedFile[], b: readonly CarriedFile[]): boolean {
  return FILES.every((name) => {
    const [own, other] = [a, b].map((files) => files.find((file) => file.name === name));
    if (own === undefined || other === undefined) return own === other;
    if (Buffer.compare(own.bytes, other.bytes) === 0) return true;
    return name === CONFIG && isDeepStrictEqual(settingsIn(own), settingsIn(other));
  });
}

/** What a configuration says, but for the class that others load it with. */
function settingsIn(file: CarriedFile): unknown {
  const { tokenizer_class: _, ...settings } = parse([file], CONFIG, z.looseObject({})) ?? {};
  return settings;
}

function idOf(engine: TokenizerEngine, token: z.infer<typeof specialToken>): number | undefined {
  const content = specialTokenText(token);
  return content === undefined ? undefined : engine.idOf(content);
}

/**
 * @throws GpruneError UNSUPPORTED for merges over words whose later characters are spelled differently, which the
 * library ignores
 */
function requireKnownMerges({ model }: TokenizerJson): void {
  const { type, continuing_subword_prefix: prefix } = model;
  if (type !== "BPE" || typeof prefix !== "string" || prefix === "") return;
  throw new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected BPE without a prefix of continued words, got ${plainName(prefix)}`,
  );
}

/**
 * @throws GpruneError UNSUPPORTED for added tokens that are none inside a word, where the library finds them as well
 */
function requireFoundAnywhere({ added_tokens: added }: TokenizerJson): void {
  const token = added.find(({ single_word: alone }) => alone === true);
  if (token === undefined) return;
  const message = `tokenizer.json: expected added tokens without single_word, got ${plainName(token.content)}`;
  throw new GpruneError("UNSUPPORTED", message, {
    hint: "Set its single_word to false, if texts may have the token inside words.",
  });
}

/** The library takes the token for unknown words of whole-word vocabularies from the configuration alone. */
function withUnknown(config: TokenizerConfig, { model }: TokenizerJson): TokenizerConfig {
  return model.type === "WordLevel" ? { ...config, unk_token: model.unk_token } : config;
}

/** The tokenizer as the library should read it: the same tokens for every text as in tokenizers (Rust), sooner. */
function tuned(file: TokenizerJson, pieces: readonly string[] | null): TokenizerJson {
  const json = {
    ...file,
    added_tokens: withoutStripping(file.added_tokens),
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

/** Whether a text falls into short words already, as it does in all byte-level tokenizers. */
function cutsWords(step: TokenizerStep | null): boolean {
  return step?.type === "Sequence" || step?.type === "ByteLevel";
}

/**
 * SentencePiece vocabularies merge over the whole text, which is slow and caches nothing, and what Unigram weighs of a
 * long text does not fit on the stack. When no token continues after a word with a space sign, none crosses the border
 * before one, and cutting there changes nothing; nor does it around the line ends of Unigram that are no part of other
 * tokens.
 * @returns null when a cut could change tokens
 */
function spaceCut(json: TokenizerJson, pieces: readonly string[] | null): TokenizerStep | null {
  const line = pieces?.every((piece) => piece === "\n" || !piece.includes("\n")) ? "\\n" : "";
  const lines = line === "" ? "" : "|\\n+";
  if (splitsAtSpaces(json)) return isolate(`▁[^▁${line}]*|[^▁${line}]+${lines}`);
  if (endsAtSpaces(json, pieces)) return isolate(`▁*[^▁${line}]+|▁+${lines}`);
  return line === "" ? null : isolate(`[^${line}]+${lines}`);
}

function splitsAtSpaces({ pre_tokenizer: step }: TokenizerJson): boolean {
  return step?.type === "Metaspace" && step.split !== false;
}

/** Whether tokens are made of a whole text, and none goes on before a space sign and behind it. */
function endsAtSpaces(
  { model, added_tokens: added }: TokenizerJson,
  pieces: readonly string[] | null,
): boolean {
  if (pieces === null && model.type !== "BPE") return false;
  const whole = new Set(added.map((token) => token.content));
  const tokens = pieces ?? Object.keys(Object(model.vocab));
  return !tokens.some((token) => /[^▁]▁/u.test(token) && !whole.has(token));
}
