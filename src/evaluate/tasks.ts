/**
 * Accuracy on multiple-choice tasks, computed as in lm-evaluation-harness (`multiple_choice` of lm_eval/api/task.py,
 * lm_eval/models/huggingface.py): the model chooses the answer that is most probable after its context.
 */

import { requireSome } from "../base/arguments.ts";
import type { Reporting } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { type Continuation, logLikelihoods } from "./log_likelihood.ts";
import { type Candidate, candidateText, type TaskDocument } from "./task_documents.ts";

/** Accuracy of a model on a task. */
export interface TaskScore {
  /**
   * Fraction of documents whose right candidate has the largest sum of log-probabilities; the first of equals counts.
   * A single candidate is right where each of its tokens is the most probable one.
   */
  readonly acc: number;
  /** The same with sums divided by the answer's length in code points; a single candidate counts as in `acc`. */
  readonly acc_norm: number;
  /** Standard error of acc, sqrt(p (1 - p) / (n - 1)); null for one document. */
  readonly stderr: number | null;
  readonly acc_norm_stderr: number | null;
  /** Number of documents. */
  readonly n: number;
}

/** A document and its candidates as tokens. */
export interface EncodedDocument extends TaskDocument {
  readonly continuations: readonly Continuation[];
  /** Whether a context was truncated at its beginning. */
  readonly isCut: boolean;
}

/**
 * Tokenises the candidates of a document; a context that is too long for the model is truncated at its beginning.
 * @param maxPositions - most tokens that the model takes
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
    // The last token is only predicted, never an input, so one more than the model's positions fits.
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
    hint: "An empty context needs a BOS or EOS token, and this tokenizer has neither.",
  });
}

/** Scores a model on a task. @throws GpruneError BAD_ARGUMENT without documents, and as `logLikelihoods` */
export async function scoreTask(
  runner: DecoderRunner,
  documents: readonly EncodedDocument[],
  options: Partial<Reporting> = {},
): Promise<TaskScore> {
  requireSome("documents", documents);
  const likelihoods = await logLikelihoods(
    runner,
    documents.flatMap(({ continuations }) => continuations),
    options,
  );
  let [hits, hitsPerCharacter, start] = [0, 0, 0];
  for (const { candidates, gold } of documents) {
    const answers = likelihoods.slice(start, start + candidates.length);
    start += candidates.length;
    if (answers.length === 1) {
      hits += Number(answers[0]!.isGreedy);
      hitsPerCharacter += Number(answers[0]!.isGreedy);
      continue;
    }
    const sums = answers.map(({ sum }) => sum);
    const meanSums = sums.map((sum, index) => sum / characters(candidates[index]!));
    hits += Number(firstMaximum(sums) === gold);
    hitsPerCharacter += Number(firstMaximum(meanSums) === gold);
  }
  const n = documents.length;
  const [acc, accNorm] = [hits / n, hitsPerCharacter / n];
  const [stderr, accNormStderr] = [standardError(acc, n), standardError(accNorm, n)];
  return { acc, acc_norm: accNorm, stderr, acc_norm_stderr: accNormStderr, n };
}

/**
 * `HFLM._encode_pair`: white space at the context's end belongs to the continuation, whose tokens are those of the
 * whole text after as many as the context alone has. BOS comes first where the tokenizer adds it by default and the
 * text does not begin with it. An empty context becomes the tokenizer's BOS, or else its EOS, in any case; not the BOS
 * of generation_config.json, which may differ (Qwen).
 */
function encodePair(candidate: Candidate, tokenizer: Tokenizer): Continuation {
  const alone = tokenizer.encode(withoutTrailingSpace(candidate.context));
  const whole = tokenizer.encode(candidateText(candidate));
  const prefix = tokenizer.addsBos ? tokenizer.bosId : tokenizer.prefixId;
  const needsPrefix = prefix !== null && (tokenizer.addsBos || alone.length === 0);
  const added = needsPrefix && whole[0] !== prefix ? [prefix] : [];
  const ids = Int32Array.from([...added, ...alone, ...whole.subarray(alone.length)]);
  // The continuation of an empty context may itself begin with the prefix, which then serves as the context.
  return { ids, context: needsPrefix ? Math.max(1, added.length + alone.length) : alone.length };
}

/** A loop, since a regular expression anchored only at the end takes quadratic time on long runs of spaces. */
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

/** Standard error of the mean of n zeros and ones; null for one. */
function standardError(mean: number, n: number): number | null {
  return n > 1 ? Math.sqrt((mean * (1 - mean)) / (n - 1)) : null;
}
