/**
 * Accuracy on tasks with given answers, as lm-evaluation-harness (lm_eval/models/huggingface.py, lm_eval/api/task.py)
 * computes it for `multiple_choice`: the model chooses the answer that is most probable after its context.
 */

import type { Reporting } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { type Continuation, logLikelihoods } from "./log_likelihood.ts";
import { type Candidate, candidateText, type TaskDocument } from "./task_layouts.ts";

/** How often a model chooses the right answer. */
export interface TaskScore {
  /**
   * Fraction of documents whose right candidate has the largest sum of log-probabilities, of equals the first; of a
   * single candidate, whether each of its tokens is the most probable one.
   */
  readonly acc: number;
  /** The same for the largest sum divided by the answer's length in code points; acc for single candidates. */
  readonly acc_norm: number;
  /** Standard error of acc, sqrt(p (1 - p) / (n - 1)); null for one document. */
  readonly stderr: number | null;
  readonly acc_norm_stderr: number | null;
  /** Documents. */
  readonly n: number;
}

/** A document and its candidates in tokens. */
export interface EncodedDocument extends TaskDocument {
  readonly continuations: readonly Continuation[];
  /** Whether a context was too long and lost its beginning. */
  readonly isCut: boolean;
}

/**
 * Candidates as tokens; a context that is too long for the model loses tokens at its beginning.
 * @param maxPositions - the longest sequence of the model
 * @throws GpruneError BAD_TEXT for a continuation that has no token or does not fit
 */
export function encodeDocument(
  document: TaskDocument,
  tokenizer: Tokenizer,
  maxPositions: number,
): EncodedDocument {
  let isCut = false;
  const continuations = document.candidates.map((candidate) => {
    const { ids, context } = encodePair(candidate, tokenizer);
    if (context === 0) throw withoutContext(document.where);
    // The last token is predicted only, so one more than the model's positions fits.
    const excess = Math.max(0, ids.length - (maxPositions + 1));
    isCut ||= excess > 0;
    const length = ids.length - context;
    if (length > 0 && context > excess) return { ids: ids.subarray(excess), context: context - excess };
    const expected = `a continuation of 1 to ${maxPositions} tokens`;
    throw new GpruneError("BAD_TEXT", `${document.where}: expected ${expected}, got ${length}`);
  });
  return { ...document, continuations, isCut };
}

function withoutContext(where: string): GpruneError {
  return new GpruneError("BAD_TEXT", `${where}: expected a context, got none`, {
    hint: "This tokenizer has no token that begins or ends a text and could stand in for it.",
  });
}

/** Scores a task. */
export async function scoreTask(
  runner: DecoderRunner,
  documents: readonly EncodedDocument[],
  options: Reporting,
): Promise<TaskScore> {
  const likelihoods = await logLikelihoods(
    runner,
    documents.flatMap(({ continuations }) => continuations),
    options,
  );
  let [hits, hitsPerCharacter, start] = [0, 0, 0];
  for (const { candidates, gold } of documents) {
    const own = likelihoods.slice(start, start + candidates.length);
    start += candidates.length;
    if (own.length === 1) {
      hits += Number(own[0]!.isGreedy);
      hitsPerCharacter += Number(own[0]!.isGreedy);
      continue;
    }
    hits += Number(firstMaximum(own.map(({ sum }) => sum)) === gold);
    hitsPerCharacter += Number(
      firstMaximum(own.map(({ sum }, index) => sum / characters(candidates[index]!))) === gold,
    );
  }
  const n = documents.length;
  const [acc, accNorm] = [hits / n, hitsPerCharacter / n];
  const [stderr, accNormStderr] = [standardError(acc, n), standardError(accNorm, n)];
  return { acc, acc_norm: accNorm, stderr, acc_norm_stderr: accNormStderr, n };
}

/**
 * `HFLM._encode_pair`: white space at the context's end belongs to the continuation, and the continuation's tokens are
 * those of the whole text after as many tokens as the context has alone. BOS comes first where the tokenizer adds it
 * by default and the text does not begin with it; in place of an empty context it does in any case, or else EOS, as the
 * tokenizer has them: generation_config.json may begin texts with another token (Qwen).
 */
function encodePair(candidate: Candidate, tokenizer: Tokenizer): Continuation {
  const alone = tokenizer.encode(withoutTrailingSpace(candidate.context));
  const whole = tokenizer.encode(candidateText(candidate));
  const first = tokenizer.addsBos ? tokenizer.bosId : tokenizer.prefixId;
  const wanted = first !== null && (tokenizer.addsBos || alone.length === 0);
  const added = wanted && whole[0] !== first ? [first] : [];
  const ids = Int32Array.from([...added, ...alone, ...whole.subarray(alone.length)]);
  // The continuation of an empty context may spell out the token that would be put before it.
  return { ids, context: wanted ? Math.max(1, added.length + alone.length) : alone.length };
}

/** By hand: an expression anchored at the end alone takes quadratic time on long runs of spaces. */
function withoutTrailingSpace(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

/** Length of the answer in code points. */
function characters({ answer }: Candidate): number {
  return [...answer].length;
}

function firstMaximum(values: readonly number[]): number {
  return values.indexOf(Math.max(...values));
}

/** Of a mean of n zeros and ones. */
function standardError(mean: number, n: number): number | null {
  return n > 1 ? Math.sqrt((mean * (1 - mean)) / (n - 1)) : null;
}
