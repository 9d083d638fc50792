/**
 * Perplexity over consecutive non-overlapping windows, the last partial one dropped: ppl = exp(mean next-token cross
 * entropy in nats), with T - 1 predictions per window of T tokens. Capped at 1e300, since JSON holds no infinity.
 */

import type { Reporting } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { type LossSum, nextTokenLoss } from "../graph/decoder/loss.ts";

/** Perplexity of a text and the number of predictions behind it. */
export interface TextScore {
  /** exp(nll), at most 1e300 */
  readonly ppl: number;
  /** Mean over all predictions, nats per token. */
  readonly nll: number;
  readonly windows: number;
  /** Predictions: windows * (T - 1). */
  readonly tokens: number;
}

/**
 * Perplexity of a text: exp of the mean next-token cross entropy in nats, over the T - 1 predictions of every window.
 * @param windows - token ids, each [T], T >= 2
 * @throws GpruneError BAD_TEXT for no windows, or one of less than two tokens
 */
export async function perplexity(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
  options: Partial<Reporting> = {},
): Promise<TextScore> {
  requirePredictions(windows);
  return textScore(await nextTokenLoss(runner, windows, options), windows.length);
}

/** @throws GpruneError BAD_TEXT for no windows, or one of less than two tokens */
export function requirePredictions(windows: readonly Int32Array[]): void {
  const least = windows.reduce((length, window) => Math.min(length, window.length), Number.POSITIVE_INFINITY);
  if (windows.length > 0 && least >= 2) return;
  const got = windows.length === 0 ? "no windows" : `a window of ${least}`;
  throw new GpruneError("BAD_TEXT", `windows: expected windows of at least two tokens, got ${got}`);
}

/** The score of a text from the sum of its losses over `windows` windows. */
export function textScore({ nll: sum, predictions: tokens }: LossSum, windows: number): TextScore {
  const nll = sum / tokens;
  return { ppl: perplexityOf(nll), nll, windows, tokens };
}

/** Geometric mean of perplexities: exp of the mean of their losses in nats. */
export function meanPerplexity(scores: readonly TextScore[]): number {
  return perplexityOf(scores.reduce((sum, { nll }) => sum + nll, 0) / scores.length);
}

/** Cap of the perplexity: the exponential of a broken model's loss may overflow. */
const MAX_PERPLEXITY = 1e300;

/** The perplexity of a mean loss in nats. */
function perplexityOf(nll: number): number {
  return Math.min(Math.exp(nll), MAX_PERPLEXITY);
}
