/**
 * How byte-level BPE vocabularies cut text into words before merging, by its name in GGUF files (`tokenizer.ggml.pre`).
 * A vocabulary works only with the cut that its merges were learned on, so unknown names are refused. Cuts are Hugging
 * Face `pre_tokenizers`, as in the tokenizer.json of the models that use them.
 *
 * Names and regular expressions: llama-vocab.cpp of ggml-org/llama.cpp, which quotes the originals.
 */
import { GpruneError } from "../../errors.ts";

/** A node of tokenizer.json. */
export type TokenizerNode = Readonly<Record<string, unknown>>;

/** One way to cut text into words. */
export interface WordCut {
  /** Steps before the byte alphabet. */
  readonly steps: readonly TokenizerNode[];
  /** Unicode normalisation of the text. */
  readonly normalizer: TokenizerNode | null;
  /** Words that are tokens stay whole, whatever the merges say. */
  readonly ignoreMerges: boolean;
  /** Whether texts start with the BOS token where the file does not say. */
  readonly addBos: boolean;
}

/** OpenAI's GPT-2 expression; tokenizers has it built into its ByteLevel step. */
export const GPT2_WORDS =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LETTERS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const SYMBOLS = " ?[^\\s\\p{L}\\p{N}]+";
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/** Words whose letters change from upper to lower case at most once. */
function casedWords(suffix: string): string {
  const start = "[^\\r\\n\\p{L}\\p{N}]?";
  const [upper, lower] = ["[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"];
  return `${start}${upper}*${lower}+${suffix}|${start}${upper}+${lower}*${suffix}`;
}

const LLAMA3_WORDS = `${CONTRACTIONS}|${LETTERS}|\\p{N}{1,3}|${SYMBOLS}[\\r\\n]*|${SPACES}`;
const QWEN2_WORDS = `${CONTRACTIONS}|${LETTERS}|\\p{N}|${SYMBOLS}[\\r\\n]*|${SPACES}`;
/** Marks go with the letters before them. */
const QWEN35_WORDS =
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|` +
  ` ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${SPACES}`;
const GPT4O_WORDS = `${casedWords(`${CONTRACTIONS}?`)}|\\p{N}{1,3}|${SYMBOLS}[\\r\\n/]*|${SPACES}`;
const SEED_WORDS = `${CONTRACTIONS}|${LETTERS}|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${SPACES}`;
const TEKKEN_WORDS = `${casedWords("")}|\\p{N}|${SYMBOLS}[\\r\\n/]*|${SPACES}`;
const DEEPSEEK3_WORDS =
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|" +
  ` ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`;

const DIGITS: TokenizerNode = { type: "Digits", individual_digits: true };

/** A step that cuts text around every match, and keeps matches as well as the text between them. */
function split(regex: string): TokenizerNode {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

const GPT2: WordCut = { steps: [split(GPT2_WORDS)], normalizer: null, ignoreMerges: false, addBos: false };
const SINGLE_DIGITS: WordCut = { ...GPT2, steps: [DIGITS, split(GPT2_WORDS)] };
const LLAMA3: WordCut = { ...GPT2, steps: [split(LLAMA3_WORDS)], ignoreMerges: true, addBos: true };
const LLAMA3_MERGED: WordCut = { ...LLAMA3, ignoreMerges: false, addBos: false };
const QWEN2: WordCut = { ...GPT2, steps: [split(QWEN2_WORDS)], normalizer: { type: "NFC" } };
const DEEPSEEK3: WordCut = {
  ...GPT2,
  steps: [split("\\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3_WORDS)],
};
const GPT4O: WordCut = { ...GPT2, steps: [split(GPT4O_WORDS)] };

/** Cuts by their names in GGUF files; of several names for one cut, the most usual comes first. */
const WORD_CUTS: ReadonlyMap<string, WordCut> = new Map<string, WordCut>([
  ["gpt-2", GPT2],
  // Files from before April 2024 say "default" or nothing.
  ["default", GPT2],
  ["phi-2", GPT2],
  ["exaone4", GPT2],
  ["smollm", SINGLE_DIGITS],
  ["starcoder", SINGLE_DIGITS],
  ["refact", SINGLE_DIGITS],
  ["command-r", { ...SINGLE_DIGITS, normalizer: { type: "NFC" } }],
  ["llama-bpe", LLAMA3],
  ["llama3", LLAMA3],
  ["llama-v3", LLAMA3],
  ["falcon3", LLAMA3],
  ["falcon-h1", LLAMA3],
  ["smaug-bpe", LLAMA3_MERGED],
  ["dbrx", LLAMA3_MERGED],
  ["glm4", LLAMA3_MERGED],
  ["chatglm-bpe", LLAMA3_MERGED],
  ["qwen2", QWEN2],
  ["deepseek-r1-qwen", QWEN2],
  ["qwen35", { ...QWEN2, steps: [split(QWEN35_WORDS)] }],
  ["gpt-4o", GPT4O],
  ["llama4", GPT4O],
  ["tekken", { ...GPT2, steps: [split(TEKKEN_WORDS)], ignoreMerges: true, addBos: true }],
  [
    "deepseek-coder",
    {
      ...GPT2,
      steps: [
        split("[\\r\\n]"),
        split("\\s?\\p{L}+"),
        split("\\s?\\p{P}+"),
        split("[一-龥ࠀ-一가-퟿]+"),
        DIGITS,
      ],
    },
  ],
  ["deepseek-v3", DEEPSEEK3],
  ["hunyuan-dense", DEEPSEEK3],
  ["laguna", { ...GPT2, steps: [split("[^\\n]+|[\\n]+"), split(QWEN2_WORDS)] }],
  ["seed-coder", { ...GPT2, steps: [split(SEED_WORDS)] }],
]);

/** Reviewed expressions: none goes back over a text more than a few times. */
const KNOWN_EXPRESSIONS: ReadonlySet<string> = new Set(
  [...WORD_CUTS.values()].flatMap(({ steps }) => steps.flatMap(expressionsOf)),
);

/** Whether a regular expression of a tokenizer.json is one of this file's. */
export function isKnownExpression(expression: string): boolean {
  return KNOWN_EXPRESSIONS.has(expression);
}

/**
 * The cut of a name.
 * @param name - tokenizer.ggml.pre
 * @throws GpruneError UNSUPPORTED for names that are not in the table
 */
export function wordCutByName(name: string, where: string): WordCut {
  const cut = WORD_CUTS.get(name);
  if (cut !== undefined) return cut;
  const known = [...WORD_CUTS.keys()].join(", ");
  const message = `${where}: tokenizer.ggml.pre: expected one of ${known}, got ${name}`;
  throw new GpruneError("UNSUPPORTED", message, {
    hint: "Use the original Hugging Face checkpoint, whose tokenizer.json contains the pre-tokenizer.",
  });
}

/** Whether a name is in the table. */
export function isWordCutName(name: string): boolean {
  return WORD_CUTS.has(name);
}

/** Whether two names stand for the same words; normalisation is not compared. */
export function isSameCut(a: string, b: string): boolean {
  const key = (name: string): string => {
    const { steps = [], ignoreMerges } = WORD_CUTS.get(name) ?? {};
    return JSON.stringify([ignoreMerges, steps.flatMap(expressionsOf)]);
  };
  return key(a) === key(b);
}

/**
 * llama.cpp's name for the cut of a tokenizer.json, undefined when it has none. Normalisation is not compared, as
 * llama.cpp does none.
 * @param step - `pre_tokenizer`
 * @param ignoreMerges - of the BPE model
 */
export function wordCutName(step: TokenizerNode, ignoreMerges: boolean): string | undefined {
  const wanted = expressionsOf(step).join("\n");
  const found = [...WORD_CUTS].find(
    ([, cut]) => cut.ignoreMerges === ignoreMerges && cut.steps.flatMap(expressionsOf).join("\n") === wanted,
  );
  return found?.[0];
}

/** The expressions that the steps of a cut split at, in order; a step that does more than split is given as JSON. */
export function expressionsOf(step: TokenizerNode): readonly string[] {
  const { type, pretokenizers, pattern, behavior, invert } = step;
  if (type === "Sequence" && Array.isArray(pretokenizers)) return pretokenizers.flatMap(expressionsOf);
  // Keeping only the matches is the same where everything matches, as in all of these.
  const isolates =
    (behavior === "Isolated" && invert !== true) || (behavior === "Removed" && invert === true);
  const regex = Object(pattern).Regex;
  if (type === "Split" && isolates && typeof regex === "string") return [regex];
  if (type === "Digits") return [step.individual_digits === true ? "\\p{N}" : "\\p{N}+"];
  if (type === "ByteLevel" && step.add_prefix_space !== true)
    return step.use_regex === false ? [] : [GPT2_WORDS];
  return [JSON.stringify(step)];
}
