/** Replaces steps that the library computes differently from tokenizers (Rust) by steps that it computes alike. */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import { GPT2_WORDS } from "./pretokenizers.ts";

/** A step of tokenizer.json, with the settings that are read. */
export interface TokenizerStep {
  readonly type: string;
  readonly pretokenizers?: readonly unknown[] | undefined;
  readonly normalizers?: readonly unknown[] | undefined;
  readonly decoders?: readonly unknown[] | undefined;
  readonly use_regex?: boolean | undefined;
  readonly add_prefix_space?: boolean | undefined;
  readonly individual_digits?: boolean | undefined;
  readonly split?: boolean | undefined;
  readonly behavior?: string | undefined;
  readonly invert?: boolean | undefined;
  readonly pattern?:
    | { readonly Regex?: string | undefined; readonly String?: string | undefined }
    | undefined;
  readonly content?: unknown;
  readonly lowercase?: boolean | null | undefined;
  readonly strip_left?: boolean | undefined;
  readonly strip_right?: boolean | undefined;
}

export const stepSchema: z.ZodType<TokenizerStep> = z.looseObject({
  type: z.string(),
  pretokenizers: z.array(z.unknown()).optional(),
  normalizers: z.array(z.unknown()).optional(),
  decoders: z.array(z.unknown()).optional(),
  use_regex: z.boolean().optional(),
  add_prefix_space: z.boolean().optional(),
  individual_digits: z.boolean().optional(),
  split: z.boolean().optional(),
  behavior: z.string().optional(),
  invert: z.boolean().optional(),
  pattern: z.looseObject({ Regex: z.string().optional(), String: z.string().optional() }).optional(),
  content: z.unknown().optional(),
  lowercase: z.boolean().nullish(),
  strip_left: z.boolean().optional(),
  strip_right: z.boolean().optional(),
});

/** Replacements of pre-tokenizers that the library computes differently, by type. */
const CORRECTIONS: Readonly<Record<string, (step: TokenizerStep) => TokenizerStep>> = {
  Sequence: (step) => sequence(z.array(stepSchema).parse(step.pretokenizers).map(correctedStep)),
  // The library's step has JavaScript's \s, with U+FEFF and without U+0085, its Split step has Unicode's.
  ByteLevel: (step) =>
    step.use_regex === false
      ? step
      : sequence([
          ...(step.add_prefix_space === true ? [PREFIX_SPACE] : []),
          isolate(GPT2_WORDS),
          { ...step, use_regex: false, add_prefix_space: false },
        ]),
  // The library's step knows 0 to 9, tokenizers' every number character.
  Digits: (step) => isolate(step.individual_digits === true ? "\\p{N}" : "\\p{N}+"),
  // The library's words have only English letters, and its white space is JavaScript's.
  Whitespace: () => ({ ...isolate(WORDS), behavior: "Removed", invert: true }),
  WhitespaceSplit: () => SPACES_REMOVED,
  BertPreTokenizer: () => sequence([SPACES_REMOVED, isolate(PUNCTUATION)]),
  // The library's step leaves adjacent marks together whatever the file says.
  Punctuation: ({ behavior = "Isolated" }) => split({ ...isolate(PUNCTUATION), behavior }),
  Split: split,
};

/**
 * A step that tokenizers does not have as a pre-tokenizer. It matches a whole character, since the library's \A also
 * matches between the halves of a surrogate pair.
 */
const PREFIX_SPACE: TokenizerStep = { type: "Replace", pattern: { Regex: "\\A[^ ]" }, content: " $&" };

/** \w of tokenizers' Whitespace step (crate regex), which the library has without joiners. */
const WORD_CHARACTERS = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d";
const WORDS = `[${WORD_CHARACTERS}]+|[^${WORD_CHARACTERS}\\s]+`;
const PUNCTUATION = "[\\p{P}\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e]";
const SPACES_REMOVED: TokenizerStep = { ...isolate("\\s+"), behavior: "Removed" };

/** A pre-tokenizer for the library. */
export function correctedStep(step: TokenizerStep): TokenizerStep {
  return Object.hasOwn(CORRECTIONS, step.type) ? CORRECTIONS[step.type]!(step) : step;
}

/**
 * A normalizer or decoder for the library: the content of Replace is literal, `$1` included, Strip removes Unicode's
 * white space, and the small letter of sigma is the same at the end of a word.
 */
export function correctedReplace(step: TokenizerStep): TokenizerStep {
  const { type, content, normalizers, decoders } = step;
  const corrected = (steps: readonly unknown[]): readonly TokenizerStep[] =>
    z.array(stepSchema).parse(steps).map(correctedReplace);
  if (type === "Sequence") {
    return {
      ...step,
      ...(normalizers && { normalizers: corrected(normalizers) }),
      ...(decoders && { decoders: corrected(decoders) }),
    };
  }
  if (type === "Lowercase" || (type === "BertNormalizer" && step.lowercase === true))
    return { type: "Sequence", normalizers: [SMALL_SIGMA, step] };
  if (type === "Strip" && content === undefined) return strippedSpaces(step);
  if (type !== "Replace" || typeof content !== "string") return step;
  return { ...foldingCase(step), content: content.replaceAll("$", "$$$$") };
}

/** Before letters become small: tokenizers takes them one by one, and JavaScript gives the last of a word as ς. */
const SMALL_SIGMA: TokenizerStep = { type: "Replace", pattern: { String: "Σ" }, content: "σ" };

/** The Strip normalizer; the decoder of that name has a `content`. */
function strippedSpaces({
  strip_left: left = true,
  strip_right: right = true,
}: TokenizerStep): TokenizerStep {
  // No search for the end begins behind a space, so that long gaps take linear time.
  const ends = [...(left ? ["\\A\\s+"] : []), ...(right ? ["(?<!\\s)\\s+\\z"] : [])];
  return { type: "Replace", pattern: { Regex: ends.join("|") || "(?!)" }, content: "" };
}

/**
 * A Split step. The library isolates matches, removes them, or keeps nothing else (`invert`). For other behaviours the
 * expression is extended to match a whole piece. Inverted, the pieces between matches are merged instead, which swaps
 * the two merging behaviours and changes no others. Every extended expression has an end to its search, so that it
 * takes no longer than the one in it.
 */
function split(given: TokenizerStep): TokenizerStep {
  const step = foldingCase(given);
  const { behavior, invert = false } = step;
  if (behavior === "Removed") return { ...step, pattern: { Regex: regexOf(step) } };
  const merges: Readonly<Record<string, boolean>> = { MergedWithPrevious: invert, MergedWithNext: !invert };
  if (behavior === "Contiguous") return isolate(`(?:${regexOf(step)})+`);
  if (behavior === undefined || merges[behavior] === undefined) return { ...step, invert: false };
  const regex = regexOf(step);
  // A match between two characters has nothing to merge.
  if (isLookaround(regex)) return isolate(regex);
  requireNoReferences(regex, behavior);
  const withNext = `(?:${regex})[\\s\\S]*?(?=(?:${regex})|(?![\\s\\S]))`;
  return isolate(merges[behavior] ? withNext : `[\\s\\S]*?(?:${regex})|[\\s\\S]+`);
}

/** Letters that an expression without regard to case takes for letters of ASCII. */
const SAME_LETTERS = { s: "ſ", k: "\u212a" } as const;
/** Escapes, classes, starts and ends of groups, and letters of an expression; found in linear time. */
const EXPRESSION_PARTS =
  /\\(?:[pPx]\{[^{}\\]*\}|k<[^<>\\]*>|.)|\[(?:\\.?|[^\]\\])*(?:\]|$)|\((?:\?(?:i:|<\w+>))?|\)|[sk]/gisu;

/**
 * A step whose `(?i:...)` takes ſ for s and the Kelvin sign for k, as Oniguruma's does; the library knows the letters
 * of ASCII alone. Classes of other than letters, digits and ranges stay.
 */
function foldingCase(step: TokenizerStep): TokenizerStep {
  const regex = step.pattern?.Regex;
  if (regex === undefined || !regex.includes("(?i:")) return step;
  const groups: boolean[] = [];
  const folded = regex.replaceAll(EXPRESSION_PARTS, (part) => {
    const isFolding = groups.at(-1) === true;
    if (part.startsWith("(")) groups.push(isFolding || part === "(?i:");
    else if (part === ")") groups.pop();
    if (!isFolding || !/^(?:[sk]|\[\w[\w-]*\])$/i.test(part)) return part;
    const letters = part.replaceAll(/^\[|\]$/g, "");
    const isIn = new RegExp(`[${letters}]`, "i");
    const more = Object.entries(SAME_LETTERS).flatMap(([letter, same]) => (isIn.test(letter) ? same : []));
    return `[${more.join("")}${letters}]`;
  });
  return { ...step, pattern: { Regex: folded } };
}

/** Whether an expression is one lookahead or lookbehind, which matches no characters. */
function isLookaround(regex: string): boolean {
  if (!/^\(\?<?[=!]/.test(regex)) return false;
  let depth = 0;
  // Brackets in classes and after a backslash open and close nothing.
  const letters = [...regex.replaceAll(/\\.|\[(?:\\.|[^\]\\])*\]/gs, (part) => "x".repeat(part.length))];
  for (const [place, letter] of letters.entries()) {
    if (letter === "(") depth++;
    if (letter === ")" && --depth === 0) return place === letters.length - 1;
  }
  return false;
}

/** @throws GpruneError UNSUPPORTED for an expression that cannot occur twice in another */
function requireNoReferences(regex: string, behavior: string): void {
  if (!/\\[1-9]|\\k<|\(\?<[^=!]/.test(regex)) return;
  throw new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected a ${behavior} Split step without group references, got ${plainName(regex)}`,
  );
}

function regexOf({ pattern }: TokenizerStep): string {
  const { Regex: regex, String: text = "" } = pattern ?? {};
  return regex ?? text.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}

export function isolate(regex: string): TokenizerStep {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

export function sequence(steps: TokenizerStep[]): TokenizerStep {
  return { type: "Sequence", pretokenizers: steps };
}
