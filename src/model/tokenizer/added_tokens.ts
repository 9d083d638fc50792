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
 * An engine for texts with added tokens.
 * @param marksStart - whether the pre-tokenizer treats the start of a text otherwise than other places
 */
export function withAddedTokens(
  engine: SectionEngine,
  added: readonly AddedToken[],
  marksStart: boolean,
): TokenizerEngine {
  const inText: TokenTree = { next: new Map() };
  const inRest: TokenTree = { next: new Map() };
  for (const token of added) {
    const isNormalized = token.normalized ?? token.special !== true;
    if (isNormalized) plant(inRest, engine.normalized(token.content), token);
    else plant(inText, token.content, token);
  }
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

/** Tokens by their characters (UTF-16 units), so that a search takes no longer with many of them. */
interface TokenTree {
  token?: AddedToken;
  readonly next: Map<number, TokenTree>;
}

function plant(tree: TokenTree, content: string, token: AddedToken): void {
  if (content === "") return;
  let node = tree;
  for (let i = 0; i < content.length; i++) {
    const unit = content.charCodeAt(i);
    const child: TokenTree = node.next.get(unit) ?? { next: new Map() };
    node.next.set(unit, child);
    node = child;
  }
  node.token = token;
}

/** A token found in a text, with the white space that it takes up, or the text between two. */
interface Section {
  readonly start: number;
  readonly part: string;
  readonly token?: AddedToken;
}

/** The sections of a text that are not empty, as `find_matches` of added_vocabulary.rs. */
function* sectionsOf(text: string, tree: TokenTree): Generator<Section> {
  let [done, spacesEnd] = [0, 0];
  for (const { start: found, end: after, token } of matchesOf(text, tree)) {
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

/** From left to right; of several tokens that begin at a place, the longest. */
function* matchesOf(text: string, tree: TokenTree): Generator<Match> {
  for (let start = 0; start < text.length; ) {
    let [node, longest, end]: [TokenTree | undefined, AddedToken | undefined, number] = [
      tree,
      undefined,
      start + 1,
    ];
    for (let i = start; i < text.length; i++) {
      node = node.next.get(text.charCodeAt(i));
      if (node === undefined) break;
      if (node.token !== undefined) [longest, end] = [node.token, i + 1];
    }
    if (longest !== undefined) yield { start, end, token: longest };
    start = end;
  }
}

/** Whether a character is white space in Unicode, as \s in Rust; \s of JavaScript has U+FEFF and lacks U+0085. */
export function isSpace(text: string, place: number): boolean {
  return /\p{White_Space}/u.test(text[place]!);
}
