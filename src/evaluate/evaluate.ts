/** Evaluates a model on named texts. */
import { cutWindows, type TextSet } from "../calibrate/windows.ts";
import { DecoderRunner } from "../graph/decoder_runner.ts";
import type { Runtime } from "../graph/runtime.ts";
import { readText } from "../io/texts.ts";
import type { Model } from "../model/model.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { type OnProgress, silent } from "../progress.ts";
import { perplexity, type TextScore } from "./perplexity.ts";

/** Scores of a model, as `gprune eval --json` prints them. */
export interface Evaluation {
  readonly model: string;
  readonly texts: Readonly<Record<string, TextScore>>;
}

export interface EvaluateOptions {
  /** Tokens in a window. */
  readonly seqLen: number;
  /** At most this many windows of each text. */
  readonly limit?: number | undefined;
  readonly onProgress?: OnProgress;
}

/** Bytes of text read at most for one text. */
const MAX_TEXT_BYTES = 2 ** 28;

/**
 * Perplexity on every text, by the protocol of perplexity.ts.
 * @throws GpruneError BAD_TEXT for a text shorter than one window
 */
export async function evaluate(
  { model, runtime }: { readonly model: Model; readonly runtime: Runtime },
  texts: readonly TextSet[],
  { seqLen, limit, onProgress = silent }: EvaluateOptions,
): Promise<Evaluation> {
  const tokenizer = Tokenizer.fromFiles(model.files);
  const runner = new DecoderRunner(model, runtime);
  const scores: Record<string, TextScore> = {};
  for (const { name, path } of texts) {
    const ids = tokenizer.encode(await readText(path, MAX_TEXT_BYTES));
    const windows = cutWindows(ids, seqLen, `text ${name} (${path})`).slice(0, limit);
    scores[name] = await perplexity(runner, windows, { stage: `evaluate ${name}`, onProgress });
  }
  return { model: model.origin.name, texts: scores };
}

/** exp of the mean of the log perplexities. */
export function geometricMean(scores: readonly TextScore[]): number {
  return Math.exp(scores.reduce((sum, { nll }) => sum + nll, 0) / scores.length);
}
