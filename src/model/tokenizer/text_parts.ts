/**
 * Splits long texts into parts whose tokens, concatenated, are those of the whole text. The library holds a hundred
 * bytes for each character of a text that it is given, so parts keep memory small. Only for tokenizers that are known
 * to allow it; others get the whole text.
 */
import { isDeepStrictEqual } from "node:util";
import type { TokenizerStep } from "./corrections.ts";
import { type TokenizerNode, wordCutName } from "./pretokenizers.ts";

/** Fewest characters of a part, which ends at the next place to cut. */
const MIN_PART = 2 ** 15;

/** Bytes held for each character of a text that is being encoded, about: in parts, and as a whole. */
export const CHARACTER_BYTES = { inParts: 12, whole: 160 } as const;

/** How texts are cut. */
export interface Parting {
  /** Matches where to cut; the matched text is in neither part. */
  readonly place: RegExp;
}

/** Between a letter and a space: word cuts of byte-level vocabularies end a word there, and look no further back. */
const BEFORE_SPACE: Parting = { place: /(?<=\p{L})(?=\s)/gu };
/** Before the space that becomes a word's first character, where no token goes on behind a space. */
const BEFORE_WORD: Parting = { place: /(?<=\p{L})(?= \p{L})/gu };
/** The same where every text is given that space. */
const AT_SPACE: Parting = { place: /(?<=\p{L}) (?=\p{L})/gu };

const SIGNS = { type: "Replace", pattern: { String: " " }, content: "▁" };
const PREFIXED_SIGNS = { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, SIGNS] };

/** The parts of a tokenizer.json that decide where texts may be cut. */
interface TokenizerParts {
  readonly normalizer: TokenizerStep | null;
  readonly pre_tokenizer: TokenizerStep | null;
  readonly added_tokens: readonly { readonly content: string }[];
}

/**
 * Where texts may be cut; null for nowhere.
 * @param endsAtSpaces - whether every token ends before the next space sign
 */
export function partingOf(
  { normalizer, pre_tokenizer: step, added_tokens: added }: TokenizerParts,
  endsAtSpaces: () => boolean,
): Parting | null {
  // Added tokens that could lie across a cut, or include the space there.
  if (added.some(({ content }) => /^\p{L}|\p{L}$|\p{L}[\s▁]|[\s▁]\p{L}/u.test(content))) return null;
  if (step !== null && isByteLevelCut(step)) {
    return normalizer === null || normalizer.type === "NFC" ? BEFORE_SPACE : null;
  }
  const parting = signParting(normalizer, step);
  return parting !== null && endsAtSpaces() ? parting : null;
}

/** The parting of vocabularies with space signs, by the step that makes the signs; null where no other may follow. */
function signParting(normalizer: TokenizerStep | null, step: TokenizerStep | null): Parting | null {
  if (normalizer === null) return step !== null && isMetaspace(step) ? BEFORE_WORD : null;
  if (step !== null && !isIdle(step)) return null;
  if (isDeepStrictEqual(normalizer, PREFIXED_SIGNS)) return AT_SPACE;
  return isDeepStrictEqual(normalizer, SIGNS) ? BEFORE_WORD : null;
}

/** Whether a step is Metaspace, which puts a space sign before a text without one. */
function isMetaspace({ type, ...step }: TokenizerStep): boolean {
  return type === "Metaspace" && "replacement" in step && step.replacement === "▁";
}

/** Whether a step looks for spaces, which are signs by then. */
function isIdle({ type, pattern }: TokenizerStep): boolean {
  return type === "Split" && pattern?.String === " ";
}

/** Whether a step is a known cut into words, with or without `ignore_merges`. */
function isByteLevelCut(step: TokenizerStep): boolean {
  const node = step as unknown as TokenizerNode;
  return [true, false].some((ignoreMerges) => wordCutName(node, ignoreMerges) !== undefined);
}

/** The parts of a text, from its start to its end. @param least - characters of every part but the last */
export function* partsOf(text: string, { place }: Parting, least: number = MIN_PART): Generator<string> {
  let start = 0;
  while (start < text.length) {
    place.lastIndex = start + least;
    const match = place.exec(text);
    const end = match?.index ?? text.length;
    yield text.slice(start, end);
    start = end + (match?.[0].length ?? 0);
  }
}
