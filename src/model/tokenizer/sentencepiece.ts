/**
 * SentencePiece vocabularies as byte-pair merges. SentencePiece's BPE merges the neighbours that give the best token;
 * tokenizer.json wants a list of pairs instead. As `generate_merges` of transformers' tokenization_utils_base.py.
 */
import { GpruneError } from "../../errors.ts";

/** Longest token, characters, since cutting takes quadratic time. SentencePiece's own default is 16. */
const MAX_TOKEN_LENGTH = 1024;

/**
 * Every way to cut a token into two tokens, best tokens first; of one token's pairs, the longest left part first.
 * @param tokens - unique, index = id
 * @param priorities - larger is better: scores, or negated positions
 * @param joinable - whether a token may be the result of a merge
 * @throws GpruneError BAD_FILE for a token that is too long
 */
export function mergesOfPieces(
  tokens: readonly string[],
  priorities: readonly number[],
  joinable: (id: number) => boolean,
): readonly (readonly [string, string])[] {
  const vocabulary = new Set(tokens);
  const order = tokens.map((_, id) => id).filter(joinable);
  order.sort((a, b) => priorities[b]! - priorities[a]! || a - b);
  return order.flatMap((id) => cutsOf(tokens[id]!, vocabulary));
}

function cutsOf(token: string, vocabulary: ReadonlySet<string>): readonly (readonly [string, string])[] {
  if (token.length > MAX_TOKEN_LENGTH) {
    const message = `tokenizer: expected tokens of at most ${MAX_TOKEN_LENGTH} characters, got ${token.length}`;
    throw new GpruneError("BAD_FILE", message);
  }
  const cuts: [string, string][] = [];
  // A cut inside a surrogate pair gives no tokens: those are valid UTF-8.
  for (let at = token.length - 1; at > 0; at--) {
    const left = token.slice(0, at);
    const right = token.slice(at);
    if (vocabulary.has(left) && vocabulary.has(right)) cuts.push([left, right]);
  }
  return cuts;
}
