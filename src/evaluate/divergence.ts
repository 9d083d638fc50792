/**
 * How far models are from a first one, usually the dense one, on the same windows: their predictions, and their hidden
 * states layer by layer. All models take a layer before any takes the next, and one head after the other is compared
 * with that of the first, so memory holds the weights of one layer of one model, or of two heads, and the hidden states
 * of all.
 */

import { requireSome } from "../base/arguments.ts";
import { type Reporting, silent } from "../base/progress.ts";
import type { DecoderRunner, Outputs } from "../graph/decoder/decoder_runner.ts";
import {
  embedWindows,
  hiddenRows,
  MAX_HIDDEN_BYTES,
  type MicroBatch,
  nextTokens,
  tokensOf,
} from "../graph/decoder/forward.ts";
import { headStructure } from "../graph/decoder/head.ts";
import { collectIfTight } from "../graph/runtime/memory_policy.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { perplexityOf, requirePredictions, type TextScore } from "./perplexity.ts";

/** Distance of a model from the first one, over the predictions that perplexity is measured on. */
export interface Divergence {
  /** Mean KL(first model's distribution || this one's), nats per token. */
  readonly kl: number;
  /** Share of the predictions, 0..1, in which both models put the same token first. */
  readonly agreement: number;
  /** Mean next-token loss of this model minus that of the first one, nats per token. */
  readonly loss_difference: number;
  /** By layer, mean over tokens of |h - h_first| / |h_first|, h the layer's output. */
  readonly layers: readonly number[];
}

/** What one text says about all models. */
export interface ComparedText {
  /** One for each model. */
  readonly scores: readonly TextScore[];
  /** One for each model but the first. */
  readonly divergences: readonly Divergence[];
}

/** Why two models cannot be compared token by token and layer by layer; null when they can. */
export function incomparable(first: ModelSpec, other: ModelSpec): string | null {
  const facts: readonly (readonly [string, (spec: ModelSpec) => unknown])[] = [
    ["words in the vocabulary", ({ vocabSize }) => vocabSize],
    ["as hidden size", ({ hiddenSize }) => hiddenSize],
    ["layers", ({ layers }) => layers.length],
    ["as the head's settings", headSettings],
  ];
  const different = facts.find(([, of]) => of(first) !== of(other));
  if (different === undefined) return null;
  const [what, of] = different;
  return `expected ${of(first)} ${what}, got ${of(other)}`;
}

/** Both heads run in one graph, so they must be built alike. */
function headSettings(spec: ModelSpec): string {
  const { hiddenSize: _, ...settings } = headStructure(spec);
  return JSON.stringify(settings);
}

/**
 * Sends windows through all models.
 * @param runners - the first one is what the others are compared with; `incomparable` must be null for each of them
 * @param windows - token ids, each [T], T >= 2
 * @throws GpruneError BAD_TEXT for no windows, or one that predicts nothing; BAD_ARGUMENT without a model
 */
export async function compareOnWindows(
  runners: readonly DecoderRunner[],
  windows: readonly Int32Array[],
  { stage = "evaluate", onProgress = silent }: Partial<Reporting> = {},
): Promise<ComparedText> {
  requireSome("models", runners);
  requirePredictions(windows);
  const { spec } = runners[0]!.model;
  const layers = spec.layers.length;
  const perWindow = windows[0]!.length * spec.hiddenSize * 4 * runners.length;
  const lot = Math.max(1, Math.floor(MAX_HIDDEN_BYTES / perWindow));
  const total = tokensOf(windows);
  const sums = runners.map(() => new Sums(layers));
  let seen = 0;
  for (let start = 0; start < windows.length; start += lot) {
    const part = windows.slice(start, start + lot);
    const tokens = tokensOf(part);
    const streams: (readonly MicroBatch[])[] = [];
    for (const runner of runners) streams.push(await embedWindows(runner, part));
    const passage = { runners, streams, sums };
    await passLayers(passage, (done) => {
      const event = { stage, total, unit: "tokens", detail: `layer ${done}/${layers}` };
      onProgress({ ...event, done: seen + (tokens * done) / layers });
    });
    await passHeads(passage);
    seen += tokens;
  }
  const scores = sums.map((sum) => sum.score(windows.length));
  const divergences = sums.slice(1).map((sum, index) => sum.divergence(scores[index + 1]!, scores[0]!));
  return { scores, divergences };
}

/** Some models on some windows. */
interface Passage {
  readonly runners: readonly DecoderRunner[];
  /** By model; micro-batches of all models hold the same windows. */
  readonly streams: readonly (readonly MicroBatch[])[];
  readonly sums: readonly Sums[];
}

/** Moves the streams through all layers, and adds up how far each is from the first. */
async function passLayers(
  { runners, streams, sums }: Passage,
  onLayer: (layers: number) => void,
): Promise<void> {
  for (let index = 0; index < runners[0]!.model.spec.layers.length; index++) {
    for (const [place, runner] of runners.entries()) {
      const layer = await runner.loadLayer(index);
      for (const [position, batch] of streams[place]!.entries()) {
        const outputs = await runner.runLayer("forward", layer, { hidden: batch.hidden });
        batch.hidden = outputs.hidden!;
        if (place > 0) sums[place]!.addLayer(index, batch.hidden, streams[0]![position]!.hidden);
      }
      runner.runtime.release(layer.weights);
    }
    onLayer(index + 1);
  }
}

/** Runs the heads on what the last layers gave; each has its weights for as long as it takes. */
async function passHeads({ runners, streams, sums }: Passage): Promise<void> {
  const first = await runners[0]!.loadHead();
  const { norm, projection } = first.weights;
  for (const [place, runner] of runners.entries()) {
    const head = place === 0 ? first : await runner.loadHead();
    const pair = { weights: { ...head.weights, teacherNorm: norm!, teacherProjection: projection! } };
    for (const [position, batch] of streams[place]!.entries()) {
      const rows = { hidden: hiddenRows(batch), targets: nextTokens(batch) };
      const outputs =
        place === 0
          ? await runner.runHead("loss", head, rows)
          : await runner.runHead("divergence", pair, {
              ...rows,
              teacher: hiddenRows(streams[0]![position]!),
            });
      sums[place]!.addPredictions(batch.tokens, outputs);
    }
    if (place > 0) runner.runtime.release(head.weights);
    collectIfTight(runner.memory);
  }
  runners[0]!.runtime.release(first.weights);
}

/** What adds up over windows, in float64. */
class Sums {
  readonly #layers: Float64Array;
  #tokens = 0;
  #predictions = 0;
  #nll = 0;
  #kl = 0;
  #agreed = 0;

  constructor(layers: number) {
    this.#layers = new Float64Array(layers);
  }

  /** @param other - output of layer `index`, [B, T, C]; @param first - that of the first model */
  addLayer(index: number, other: Tensor, first: Tensor): void {
    const size = other.shape.at(-1)!;
    for (let start = 0; start < other.data.length; start += size) {
      this.#layers[index]! += relativeError(other.data, first.data, { start, end: start + size });
    }
    if (index === 0) this.#tokens += other.data.length / size;
  }

  /** The last token of a window of `tokens` tokens predicts nothing. */
  addPredictions(tokens: number, { nll, divergence, agreement }: Outputs): void {
    for (let i = 0; i < nll!.data.length; i++) {
      if ((i + 1) % tokens === 0) continue;
      this.#predictions += 1;
      this.#nll += nll!.data[i]!;
      this.#kl += divergence?.data[i] ?? 0;
      this.#agreed += agreement?.data[i] ?? 0;
    }
  }

  score(windows: number): TextScore {
    const nll = this.#nll / this.#predictions;
    return { ppl: perplexityOf(nll), nll, windows, tokens: this.#predictions };
  }

  divergence(other: TextScore, first: TextScore): Divergence {
    return {
      // Rounding may leave a divergence of nothing just below zero.
      kl: Math.max(0, this.#kl / this.#predictions),
      agreement: this.#agreed / this.#predictions,
      loss_difference: other.nll - first.nll,
      layers: Array.from(this.#layers, (sum) => sum / this.#tokens),
    };
  }
}

/** |other - first| / |first| of some elements; 1 where only `first` is zero. */
function relativeError(
  other: Float32Array,
  first: Float32Array,
  { start, end }: { readonly start: number; readonly end: number },
): number {
  let [difference, size] = [0, 0];
  for (let i = start; i < end; i++) {
    difference += (other[i]! - first[i]!) ** 2;
    size += first[i]! ** 2;
  }
  if (size === 0) return difference === 0 ? 0 : 1;
  return Math.sqrt(difference / size);
}
