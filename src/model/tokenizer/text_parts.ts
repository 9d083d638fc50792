/**
 * Long texts in parts whose tokens, one part after the other, are those of the whole. The library holds a hundred bytes
 * for each character of a text that it is given, so parts keep memory small. Only for steps of which that is known:
 * others get the whole.
 */
import { isDeepStrictEqual } from "node:util";
import type { TokenizerStep } from "./corrections.ts";
import { type TokenizerNode, wordCutName } from "./pretokenizers.ts";

/** Characters of a part, about: the next place to cut is looked for from there. */
const PART = 2 ** 15;

/** Bytes that are held for each character while a text becomes tokens, about: in parts, and as a whole. */
export const CHARACTER_BYTES = { inParts: 12, whole: 160 } as const;

/** How texts are cut. */
export interface Parting {
  /** Finds the places; what it matches is in neither part. */
  readonly place: RegExp;
}

/** Word cuts of byte-level vocabularies end a word there, and look no further back. */
const BEFORE_SPACE: Parting = { place: /(?<=\p{L})(?=\s)/gu };
/** Where the space becomes the first character of a word, for vocabularies of which no token goes on behind a space. */
const BEFORE_WORD: Parting = { place: /(?<=\p{L})(?= \p{L})/gu };
/** The same where every text gets such a space. */
const AT_SPACE: Parting = { place: /(?<=\p{L}) (?=\p{L})/gu };

const SIGNS = { type: "Replace", pattern: { String: " " }, content: "▁" };
const PREFIXED_SIGNS = { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, SIGNS] };

/** What of a tokenizer.json says where its texts may be cut. */
interface TokenizerParts {
  readonly normalizer: TokenizerStep | null;
  readonly pre_tokenizer: TokenizerStep | null;
  readonly added_tokens: readonly { readonly content: string }[];
}

/**
 * Where texts may be cut; null for nowhere.
 * @param endsAtSpaces - whether no token goes on behind a space sign
 */
export function partingOf(
  { normalizer, pre_tokenizer: step, added_tokens: added }: TokenizerParts,
  endsAtSpaces: () => boolean,
): Parting | null {
  // One that lies at a cut, or beside the space there.
  if (added.some(({ content }) => /^\p{L}|\p{L}$|\p{L}[\s▁]|[\s▁]\p{L}/u.test(content))) return null;
  if (step !== null && isByteLevelCut(step)) {
    return normalizer === null || normalizer.type === "NFC" ? BEFORE_SPACE : null;
  }
  const [isPlain, isPrefixed] = [SIGNS, PREFIXED_SIGNS].map((known) => isDeepStrictEqual(normalizer, known));
  const makesSigns = normalizer === null ? step !== null && isMetaspace(step) : isPlain || isPrefixed;
  const isWhole = normalizer === null || step === null || isIdle(step);
  if (!makesSigns || !isWhole || !endsAtSpaces()) return null;
  return isPrefixed ? AT_SPACE : BEFORE_WORD;
}

/** It puts a sign before a text that has none. */
function isMetaspace({ type, ...step }: TokenizerStep): boolean {
  return type === "Metaspace" && "replacement" in step && step.replacement === "▁";
}

/** Whether a step looks for spaces, which are signs by then. */
function isIdle({ type, pattern }: TokenizerStep): boolean {
  return type === "Split" && pattern?.String === " ";
}

/** Whether a step is one of the cuts that are known, whatever the merges say. */
function isByteLevelCut(step: TokenizerStep): boolean {
  const node = step as unknown as TokenizerNode;
  return [true, false].some((ignoreMerges) => wordCutName(node, ignoreMerges) !== undefined);
}

/** The parts of a text, from its start to its end. @param least - characters of all but the last */
export function* partsOf(text: string, { place }: Parting, least: number = PART): Generator<string> {
  let start = 0;
  while (start < text.length) {
    place.lastIndex = start + least;
    const found = place.exec(text);
    const end = found?.index ?? text.length;
    yield text.slice(start, end);
    start = end + (found?.[0].length ?? 0);
  }
}
