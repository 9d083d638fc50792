/**
 * Added tokens of a text: found in the text itself or, if they are `normalized`, in what normalisation makes of the
 * rest. A token takes up the white space (Unicode's) beside it that it strips. The model gets what lies between. As
 * `extract_and_normalize` of added_vocabulary.rs in tokenizers (Rust); the library strips JavaScript's white space.
 */
import type { SectionEngine, TokenizerEngine } from "./engine.ts";

/** An entry of `added_tokens`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean | null | undefined;
  readonly normalized?: boolean | null | undefined;
  readonly lstrip?: boolean | null | undefined;
  readonly rstrip?: boolean | null | undefined;
}

/**
 * Most characters of a token: those of real tokenizers have up to 100, and each costs time at every place of a text.
 */
export const MAX_ADDED = 512;

/**
 * An engine for texts with added tokens.
 * @param marksStart - whether the pre-tokenizer treats the start of a text otherwise than other places
 */
export function withAddedTokens(
  engine: SectionEngine,
  added: readonly AddedToken[],
  marksStart: boolean,
): TokenizerEngine {
  const isNormalized = ({ normalized, special }: AddedToken): boolean => normalized ?? special !== true;
  const inText = new TokenIndex(
    added.filter((token) => !isNormalized(token)).map((token) => [token.content, token]),
  );
  const inRest = new TokenIndex(
    added.filter(isNormalized).map((token) => [engine.normalized(token.content), token]),
  );
  /** Whether a normalised text begins where the text does: its first character is no longer there otherwise. */
  const keepsStart = (text: string, rest: string): boolean =>
    rest === text ||
    rest !== engine.normalized(text.slice(String.fromCodePoint(text.codePointAt(0)!).length));
  const encode = (text: string): readonly number[] => {
    const ids: number[] = [];
    for (const { start, part, token } of sectionsOf(text, inText)) {
      if (token !== undefined) {
        ids.push(token.id);
        continue;
      }
      const rest = engine.normalized(part);
      const isStart = marksStart && start === 0 && keepsStart(part, rest);
      for (const { start: place, part: section, token: found } of sectionsOf(rest, inRest)) {
        const sectionIds = found ? [found.id] : engine.encodeSection(section, isStart && place === 0);
        for (const id of sectionIds) ids.push(id);
      }
    }
    return ids;
  };
  const { decode, idOf, largestId, around } = engine;
  return { encode, decode, idOf, largestId, around };
}

/** Tokens by their contents, with a search that takes little longer, and no more memory, for many of them. */
class TokenIndex {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  /** In the order of UTF-16 units, so that those with a common start are neighbours, the shortest first. */
  readonly #contents: readonly string[];
  readonly #firstUnits: ReadonlySet<number>;

  constructor(entries: readonly (readonly [content: string, token: AddedToken])[]) {
    this.#tokens = new Map(entries.filter(([content]) => content !== ""));
    this.#contents = [...this.#tokens.keys()].sort();
    this.#firstUnits = new Set(this.#contents.map((content) => content.charCodeAt(0)));
  }

  /** From left to right; of several tokens that begin at a place, the longest. */
  *matches(text: string): Generator<Match> {
    for (let start = 0; start < text.length; ) {
      const content = this.#firstUnits.has(text.charCodeAt(start)) ? this.#longestAt(text, start) : undefined;
      const end = start + (content?.length ?? 1);
      if (content !== undefined) yield { start, end, token: this.#tokens.get(content)! };
      start = end;
    }
  }

  #longestAt(text: string, start: number): string | undefined {
    let [low, high] = [0, this.#contents.length];
    let longest: string | undefined;
    for (let length = 1; low < high && start + length <= text.length; length++) {
      const unit = text.charCodeAt(start + length - 1);
      // Contents from `low` up to `high` begin as the text does.
      low = this.#firstWith(length, unit, { low, high });
      high = this.#firstWith(length, unit + 1, { low, high });
      if (low < high && this.#contents[low]!.length === length) longest = this.#contents[low];
    }
    return longest;
  }

  /** The first content whose unit at the end of `length` units is `least` or more; `high` for none. */
  #firstWith(length: number, least: number, range: { readonly low: number; readonly high: number }): number {
    let { low, high } = range;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#contents[middle]!.charCodeAt(length - 1) >= least) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** A token found in a text, with the white space that it takes up, or the text between two. */
interface Section {
  readonly start: number;
  readonly part: string;
  readonly token?: AddedToken;
}

/** The sections of a text that are not empty, as `find_matches` of added_vocabulary.rs. */
function* sectionsOf(text: string, index: TokenIndex): Generator<Section> {
  let [done, spacesEnd] = [0, 0];
  for (const { start: found, end: after, token } of index.matches(text)) {
    let [start, end] = [found, after];
    if (token.lstrip) {
      while (start > done && isSpace(text, start - 1)) start--;
      // The token before may have taken up this one, which is white space itself.
      start = Math.max(start, done);
    }
    if (token.rstrip) {
      // All that lies before the end of the last white space is part of it.
      end = Math.max(end, spacesEnd);
      while (end < text.length && isSpace(text, end)) end++;
      spacesEnd = end;
    }
    if (done < start) yield { start: done, part: text.slice(done, start) };
    if (start < end) yield { start, part: text.slice(start, end), token };
    done = end;
  }
  if (done < text.length) yield { start: done, part: text.slice(done) };
}

interface Match {
  readonly start: number;
  readonly end: number;
  readonly token: AddedToken;
}

/** Whether a character is white space in Unicode, as \s in Rust; \s of JavaScript has U+FEFF and lacks U+0085. */
export function isSpace(text: string, place: number): boolean {
  return /\p{White_Space}/u.test(text[place]!);
}
