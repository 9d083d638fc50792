/**
 * Perplexity: consecutive non-overlapping windows, the last partial one dropped;
 * ppl = exp(mean next-token cross entropy in nats), T - 1 predictions per window of T tokens.
 */
import type { DecoderRunner } from "../graph/decoder_runner.ts";
import { embedWindows, forwardLayers, hiddenRows, MAX_HIDDEN_BYTES, nextTokens } from "../graph/forward.ts";
import { type OnProgress, silent } from "../progress.ts";

/** How well a model predicts a text. */
export interface TextScore {
  /** exp(nll) */
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
  {
    stage = "evaluate",
    onProgress = silent,
  }: { readonly stage?: string; readonly onProgress?: OnProgress } = {},
): Promise<TextScore> {
  const perWindow = windows[0]!.length * runner.model.spec.hiddenSize * 4;
  const lot = Math.max(1, Math.floor(MAX_HIDDEN_BYTES / perWindow));
  const total = windows.reduce((sum, window) => sum + window.length, 0);
  const head = await runner.loadHead();
  let nll = 0;
  let tokens = 0;
  let seen = 0;
  for (let start = 0; start < windows.length; start += lot) {
    const base = seen;
    const batches = await embedWindows(runner, windows.slice(start, start + lot));
    await forwardLayers(runner, batches, {
      stage,
      onProgress: (event) => onProgress({ ...event, done: base + event.done, total }),
    });
    for (const batch of batches) {
      const rows = { hidden: hiddenRows(batch), targets: nextTokens(batch) };
      const { data } = (await runner.runHead("loss", head, rows)).nll!;
      for (let i = 0; i < data.length; i++) if ((i + 1) % batch.tokens !== 0) nll += data[i]!;
      tokens += batch.batch * (batch.tokens - 1);
      seen += batch.ids.length;
    }
  }
  return { ppl: Math.exp(nll / tokens), nll: nll / tokens, windows: windows.length, tokens };
}
