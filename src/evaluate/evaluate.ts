/** Evaluates a model on named texts. */
import { cutWindows, type TextSet } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
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

/** A window of one token predicts nothing. */
const MIN_WINDOW = 2;
/** Bytes of text read at most for one text. */
const MAX_TEXT_BYTES = 2 ** 28;

/**
 * Perplexity on every text, by the protocol of perplexity.ts.
 * @throws GpruneError BAD_TEXT for a text shorter than one window, BAD_ARGUMENT for windows of less than two tokens or
 *   a limit below one
 */
export async function evaluate(
  { model, runtime }: { readonly model: Model; readonly runtime: Runtime },
  texts: readonly TextSet[],
  { seqLen, limit, onProgress = silent }: EvaluateOptions,
): Promise<Evaluation> {
  requireCount("--seq-len", seqLen, MIN_WINDOW);
  if (limit !== undefined) requireCount("--limit", limit, 1);
  const tokenizer = Tokenizer.fromFiles(model.files);
  const runner = new DecoderRunner(model, runtime);
  const loaded: { readonly name: string; readonly windows: readonly Int32Array[] }[] = [];
  for (const { name, path } of texts) {
    const ids = tokenizer.encode(await readText(path, MAX_TEXT_BYTES));
    loaded.push({ name, windows: cutWindows(ids, seqLen, `text ${name} (${path})`).slice(0, limit) });
  }
  const scores: [string, TextScore][] = [];
  for (const { name, windows } of loaded) {
    scores.push([name, await perplexity(runner, windows, { stage: `evaluate ${name}`, onProgress })]);
  }
  return { model: model.origin.name, texts: Object.fromEntries(scores) };
}

function requireCount(option: string, count: number, least: number): void {
  if (Number.isSafeInteger(count) && count >= least) return;
  throw new GpruneError("BAD_ARGUMENT", `${option}: expected a whole number from ${least}, got ${count}`);
}

/** exp of the mean of the log perplexities. */
export function geometricMean(scores: readonly TextScore[]): number {
  return Math.exp(scores.reduce((sum, { nll }) => sum + nll, 0) / scores.length);
}
