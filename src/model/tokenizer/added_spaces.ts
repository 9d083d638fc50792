/**
 * White space beside added tokens that take it up (`lstrip`, `rstrip`), as tokenizers (Rust) has it: by Unicode. The
 * library has JavaScript's, with U+FEFF and without U+0085, and takes a neighbouring token for white space when it is
 * some.
 */
import type { TokenizerEngine } from "./engine.ts";

/** An entry of `added_tokens`. */
export interface AddedToken {
  readonly content: string;
  readonly special?: boolean | null | undefined;
  readonly normalized?: boolean | null | undefined;
  readonly lstrip?: boolean | null | undefined;
  readonly rstrip?: boolean | null | undefined;
}

/** Found before any normalisation, so that the white space beside it is that of the text. */
function isFoundInText({ normalized, special }: AddedToken): boolean {
  return !(normalized ?? special !== true);
}

/** The tokens as the library should have them. */
export function withoutStripping<Token extends AddedToken>(added: readonly Token[]): Token[] {
  return added.map((token) => (isFoundInText(token) ? { ...token, lstrip: false, rstrip: false } : token));
}

/** An engine of `withoutStripping` tokens that takes up white space as the tokens say. */
export function strippingSpaces(engine: TokenizerEngine, added: readonly AddedToken[]): TokenizerEngine {
  const tokens = new Map(
    added
      .filter((token) => isFoundInText(token) && token.content !== "")
      .map((token) => [token.content, token]),
  );
  if (![...tokens.values()].some(({ lstrip, rstrip }) => lstrip || rstrip)) return engine;
  // The longest of those that begin at a place.
  const contents = [...tokens.keys()].sort((a, b) => b.length - a.length);
  const any = new RegExp(
    contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")).join("|"),
    "g",
  );
  const stripped = (text: string): string => {
    let [result, done] = ["", 0];
    for (const { 0: content, index } of text.matchAll(any)) {
      const { lstrip, rstrip } = tokens.get(content)!;
      let end = index;
      if (lstrip) while (end > done && isSpace(text[end - 1]!)) end--;
      result += text.slice(done, end) + content;
      done = index + content.length;
      if (rstrip) while (done < text.length && isSpace(text[done]!)) done++;
    }
    return result + text.slice(done);
  };
  return {
    ...engine,
    encode: (text, special) => engine.encode(stripped(text), special),
    encodePieces: (text, special) => engine.encodePieces(stripped(text), special),
  };
}

function isSpace(character: string): boolean {
  return /\p{White_Space}/u.test(character);
}
