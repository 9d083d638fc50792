/**
 * White space that added tokens strip beside them (`lstrip`, `rstrip`): Unicode's, as in tokenizers (Rust). The library
 * strips JavaScript's, with U+FEFF and without U+0085, and also a neighbouring token that is white space.
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

/** Whether a token is matched before any normalisation, so that the white space beside it is the text's. */
function isFoundInText({ normalized, special }: AddedToken): boolean {
  return !(normalized ?? special !== true);
}

/** The tokens for the library, which is not to strip beside those that are matched in the text. */
export function withoutStripping<Token extends AddedToken>(added: readonly Token[]): Token[] {
  return added.map((token) => (isFoundInText(token) ? { ...token, lstrip: false, rstrip: false } : token));
}

/** An engine of `withoutStripping` tokens, given texts without the white space that the tokens strip. */
export function strippingSpaces(engine: TokenizerEngine, added: readonly AddedToken[]): TokenizerEngine {
  const tokens = new Map(
    added
      .filter((token) => isFoundInText(token) && token.content !== "")
      .map((token) => [token.content, token]),
  );
  if (![...tokens.values()].some(({ lstrip, rstrip }) => lstrip || rstrip)) return engine;
  // Longest first: of several tokens that begin at a place, the longest matches.
  const contents = [...tokens.keys()].sort((a, b) => b.length - a.length);
  const anyToken = new RegExp(
    contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")).join("|"),
    "g",
  );
  const strip = (text: string): string => {
    let [result, done] = ["", 0];
    for (const { 0: content, index } of text.matchAll(anyToken)) {
      const { lstrip, rstrip } = tokens.get(content)!;
      let end = index;
      if (lstrip) while (end > done && isSpace(text[end - 1]!)) end--;
      result += text.slice(done, end) + content;
      done = index + content.length;
      if (rstrip) while (done < text.length && isSpace(text[done]!)) done++;
    }
    return result + text.slice(done);
  };
  return { ...engine, encode: (text, special) => engine.encode(strip(text), special) };
}

function isSpace(character: string): boolean {
  return /\p{White_Space}/u.test(character);
}
