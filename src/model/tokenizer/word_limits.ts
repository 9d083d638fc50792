/**
 * Bounds on the words that a tokenizer's model gets, and on the time that it takes. The library holds some 400 bytes
 * for each character of a word that BPE merges; the time of other models grows with a word's length times that of the
 * longest token, or with its square.
 */
import { isSpace } from "./added_tokens.ts";
import { isolate, type TokenizerStep } from "./corrections.ts";
import type { SectionEngine } from "./engine.ts";

/** Most characters of a word: a hundred megabytes. Longer ones are cut, which may change a token at every cut. */
const MAX_WORD = 2 ** 18;
/** Real vocabularies have pieces of up to 50 characters, and WordPiece gives up on words of 100. */
const MAX_PIECE = 128;
const MAX_WORDPIECE = 200;

/** Cuts longer words. */
export const WORD_CUT: TokenizerStep = isolate(`[\\s\\S]{1,${MAX_WORD}}`);

/**
 * An engine that passes texts with too long words to a second one.
 * @param open - makes the second, with `WORD_CUT`, when it is first needed
 */
export function cuttingLongWords(engine: SectionEngine, open: () => SectionEngine): SectionEngine {
  let cutting: SectionEngine | undefined;
  const engineFor = (section: string): SectionEngine => {
    if (!hasLongWord(section)) return engine;
    cutting ??= open();
    return cutting;
  };
  return {
    ...engine,
    encodeSection: (section, isStart) => engineFor(section).encodeSection(section, isStart),
  };
}

/**
 * Whether a text may have a too long word, for tokenizers that cut at white space: a stretch of more than `longest`
 * characters that are all white space, or none of them. It covers one of the places that are tried, `longest` apart.
 */
export function hasLongWord(text: string, longest: number = MAX_WORD): boolean {
  for (let place = longest - 1; place < text.length; place += longest) {
    const kind = isSpace(text, place);
    let [start, end] = [place, place + 1];
    while (start > 0 && isSpace(text, start - 1) === kind) start--;
    while (end < text.length && end - start <= longest && isSpace(text, end) === kind) end++;
    if (end - start > longest) return true;
  }
  return false;
}

/** The parts of a tokenizer.json that bound the time of its model. */
interface ModelFile {
  readonly model: { readonly type?: string | undefined; readonly max_input_chars_per_word?: unknown };
}

/** Whether a model takes no longer than real ones. @param pieces - of Unigram, else null */
export function isQuick({ model }: ModelFile, pieces: readonly string[] | null): boolean {
  const { type, max_input_chars_per_word: longest = 100 } = model;
  const fits = type !== "WordPiece" || (typeof longest === "number" && longest <= MAX_WORDPIECE);
  return fits && (pieces ?? []).every(({ length }) => length <= MAX_PIECE);
}
