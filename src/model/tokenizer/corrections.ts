/** Steps of tokenizers that the library computes otherwise than tokenizers (Rust), as steps that it computes alike. */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import { GPT2_WORDS } from "./pretokenizers.ts";

/** A step of tokenizer.json, with what is looked at. */
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
  strip_left: z.boolean().optional(),
  strip_right: z.boolean().optional(),
});

/** Pre-tokenizers of the library that disagree with tokenizers, as steps that do not. */
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
  // The library's words have the letters of English alone, and its spaces those of JavaScript.
  Whitespace: () => ({ ...isolate(WORDS), behavior: "Removed", invert: true }),
  WhitespaceSplit: () => SPACES_REMOVED,
  BertPreTokenizer: () => sequence([SPACES_REMOVED, isolate(PUNCTUATION)]),
  // The library's step leaves neighbours together whatever the file says.
  Punctuation: ({ behavior = "Isolated" }) => split({ ...isolate(PUNCTUATION), behavior }),
  Split: split,
};

/**
 * A step of the library that tokenizers does not have. It matches a whole character: the library's own words for \A
 * hold between the halves of those beyond U+FFFF too.
 */
const PREFIX_SPACE: TokenizerStep = { type: "Replace", pattern: { Regex: "\\A[^ ]" }, content: " $&" };

/** \w of tokenizers' Whitespace step (crate regex), which the library has without joiners. */
const WORD_CHARACTERS = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d";
const WORDS = `[${WORD_CHARACTERS}]+|[^${WORD_CHARACTERS}\\s]+`;
const PUNCTUATION = "[\\p{P}\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e]";
const SPACES_REMOVED: TokenizerStep = { ...isolate("\\s+"), behavior: "Removed" };

/** A pre-tokenizer as the library should have it. */
export function correctedStep(step: TokenizerStep): TokenizerStep {
  return Object.hasOwn(CORRECTIONS, step.type) ? CORRECTIONS[step.type]!(step) : step;
}

/**
 * A normalizer or decoder likewise: what Replace puts in is text, and `$1` in it no part of the match; what Strip takes
 * off is white space as Unicode has it.
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
  if (type === "Strip" && content === undefined) return strippedSpaces(step);
  if (type !== "Replace" || typeof content !== "string") return step;
  return { ...step, content: content.replaceAll("$", "$$$$") };
}

/** The normalizer of that name; the decoder has a `content`. */
function strippedSpaces({
  strip_left: left = true,
  strip_right: right = true,
}: TokenizerStep): TokenizerStep {
  // Behind a space no search for the end begins, so that long gaps take no longer.
  const ends = [...(left ? ["\\A\\s+"] : []), ...(right ? ["(?<!\\s)\\s+\\z"] : [])];
  return { type: "Replace", pattern: { Regex: ends.join("|") || "(?!)" }, content: "" };
}

/**
 * A Split step. The library leaves matches by themselves or removes them, or keeps nothing but matches (`invert`). What
 * other behaviours join to one piece is one match here; inverted, pieces between matches are what is joined, which is
 * the same for all but the two that merge, where it is the other way round. Every such expression ends its search
 * somewhere, so that it takes no longer than the one in it.
 */
function split(step: TokenizerStep): TokenizerStep {
  const { behavior, invert = false } = step;
  if (behavior === "Removed") return { ...step, pattern: { Regex: regexOf(step) } };
  const merges: Readonly<Record<string, boolean>> = { MergedWithPrevious: invert, MergedWithNext: !invert };
  if (behavior === "Contiguous") return isolate(`(?:${regexOf(step)})+`);
  if (behavior === undefined || merges[behavior] === undefined) return { ...step, invert: false };
  const regex = regexOf(step);
  // Between two characters nothing can be merged.
  if (isLookaround(regex)) return isolate(regex);
  requireNoReferences(regex, behavior);
  const withNext = `(?:${regex})[\\s\\S]*?(?=(?:${regex})|(?![\\s\\S]))`;
  return isolate(merges[behavior] ? withNext : `[\\s\\S]*?(?:${regex})|[\\s\\S]+`);
}

/** Whether an expression is one group that looks ahead or behind, and so matches no character. */
function isLookaround(regex: string): boolean {
  if (!/^\(\?<?[=!]/.test(regex)) return false;
  let depth = 0;
  // Brackets in classes and after a backslash open and close nothing.
  const brackets = regex.replaceAll(/\\.|\[(?:\\.|[^\]\\])*\]/gs, (part) => "x".repeat(part.length));
  for (const [place, letter] of [...brackets].entries()) {
    if (letter === "(") depth++;
    if (letter === ")" && --depth === 0) return place === [...brackets].length - 1;
  }
  return false;
}

/** @throws GpruneError UNSUPPORTED for an expression that cannot stand twice in another */
function requireNoReferences(regex: string, behavior: string): void {
  if (!/\\[1-9]|\\k<|\(\?<[^=!]/.test(regex)) return;
  throw new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected a Split step of ${behavior} without references to groups, got ${plainName(regex)}`,
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
