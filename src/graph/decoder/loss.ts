/** The loss of a model on windows of text. */

import { type Reporting, silent } from "../../base/progress.ts";
import type { DecoderRunner } from "./decoder_runner.ts";
import {
  embedWindows,
  forwardLayers,
  hiddenRows,
  MAX_HIDDEN_BYTES,
  nextTokens,
  tokensOf,
} from "./forward.ts";
import { widestState } from "./layer_structure.ts";

/** Sums over the predictions of some windows, T - 1 in a window of T tokens. */
export interface LossSum {
  /** Next-token cross entropy, nats. */
  readonly nll: number;
  readonly predictions: number;
}

/** @param windows - token ids, each [T], T >= 2 */
export async function nextTokenLoss(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
  options: Partial<Reporting> = {},
): Promise<LossSum> {
  return lossSum([await predictionLosses(runner, windows, options)]);
}

/** Sums the losses of several lots of predictions, in order. */
export function lossSum(lots: readonly Float32Array[]): LossSum {
  let nll = 0;
  for (const losses of lots) for (const loss of losses) nll += loss;
  return { nll, predictions: lots.reduce((sum, { length }) => sum + length, 0) };
}

/** Next-token cross entropy of every prediction, in order, nats. @param windows - token ids, each [T], T >= 2 */
export async function predictionLosses(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
  { stage = "evaluate", onProgress = silent }: Partial<Reporting> = {},
): Promise<Float32Array> {
  const perWindow = windows[0]!.length * widestState(runner.model.spec) * 4;
  const lot = Math.max(1, Math.floor(MAX_HIDDEN_BYTES / perWindow));
  const total = tokensOf(windows);
  const losses = new Float32Array(total - windows.length);
  let predictions = 0;
  let seen = 0;
  for (let start = 0; start < windows.length; start += lot) {
    const base = seen;
    const batches = await embedWindows(runner, windows.slice(start, start + lot));
    await forwardLayers(runner, batches, {
      stage,
      onProgress: (event) => onProgress({ ...event, done: base + event.done, total }),
    });
    const head = await runner.loadHead();
    try {
      for (const batch of batches) {
        const rows = { hidden: hiddenRows(batch), targets: nextTokens(batch) };
        const { data } = (await runner.runHead("loss", head, rows)).nll!;
        for (let i = 0; i < data.length; i++) {
          if ((i + 1) % batch.tokens !== 0) losses[predictions++] = data[i]!;
        }
        seen += batch.ids.length;
      }
    } finally {
      runner.runtime.release(head.weights);
    }
  }
  return losses;
}
