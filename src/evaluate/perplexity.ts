/**
 * Perplexity: consecutive non-overlapping windows, the last partial one dropped;
 * ppl = exp(mean next-token cross entropy in nats), T - 1 predictions per window of T tokens; 1e300 where it is more, since files
 * of JSON hold no infinity.
 */
import type { DecoderRunner } from "../graph/decoder_runner.ts";
import { type LossSum, nextTokenLoss } from "../graph/loss.ts";
import type { OnProgress } from "../progress.ts";

/** How well a model predicts a text. */
export interface TextScore {
  /** exp(nll), at most 1e300 */
  readonly ppl: number;
  /** Mean over all predictions, nats per token. */
  readonly nll: number;
  readonly windows: number;
  /** Predictions: windows * (T - 1). */
  readonly tokens: number;
}

/** @param windows - token ids, each [T], T >= 2 */
export async function perplexity(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
  options: { readonly stage?: string; readonly onProgress?: OnProgress } = {},
): Promise<TextScore> {
  return textScore(await nextTokenLoss(runner, windows, options), windows.length);
}

/** The score of so many windows from the sum of their losses. */
export function textScore({ nll: sum, predictions: tokens }: LossSum, windows: number): TextScore {
  const nll = sum / tokens;
  return { ppl: perplexityOf(nll), nll, windows, tokens };
}

/** Of a broken model exp may be beyond all numbers. */
const LARGEST = 1e300;

/** The perplexity of a mean loss in nats. */
export function perplexityOf(nll: number): number {
  return Math.min(Math.exp(nll), LARGEST);
}
