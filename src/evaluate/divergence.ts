/**
 * Distance of models from a first one, usually the dense model, on the same windows: in their predictions, and in their
 * hidden states layer by layer. Every model passes a layer before any passes the next, and the heads are compared with
 * the first one's in turn. So memory holds one layer's weights of one model, or two heads, and all hidden states.
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
import { widestState } from "../graph/decoder/layer_structure.ts";
import { collectIfGrown } from "../graph/runtime/memory_policy.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { requirePredictions, type TextScore, textScore } from "./perplexity.ts";

/** Distance of a model from the first one, over the same predictions as perplexity. */
export interface Divergence {
  /** Mean KL(first model's distribution || this model's), nats per token. */
  readonly kl: number;
  /** Fraction of the predictions, 0..1, in which both models rank the same token first. */
  readonly agreement: number;
  /** Mean next-token loss of this model minus that of the first one, nats per token. */
  readonly loss_difference: number;
  /** By layer, mean over tokens of |h - h_first| / |h_first|, h the layer's output. */
  readonly layers: readonly number[];
}

/** Scores and divergences of all models on one text. */
export interface ComparedText {
  /** By model. */
  readonly scores: readonly TextScore[];
  /** By model, without the first. */
  readonly divergences: readonly Divergence[];
}

/** Why two models cannot be compared token by token and layer by layer; null when they can. */
export function incomparable(first: ModelSpec, other: ModelSpec): string | null {
  const facts: readonly (readonly [string, (spec: ModelSpec) => unknown])[] = [
    ["tokens in the vocabulary", ({ vocabSize }) => vocabSize],
    ["as the hidden size", ({ hiddenSize }) => hiddenSize],
    ["layers", ({ layers }) => layers.length],
    ["as the settings of the output head", headSettings],
  ];
  const different = facts.find(([, of]) => of(first) !== of(other));
  if (different === undefined) return null;
  const [what, of] = different;
  return `expected ${of(first)} ${what}, got ${of(other)}`;
}

/** Both heads run in one graph, so they must have the same structure, apart from the hidden size. */
function headSettings(spec: ModelSpec): string {
  const { hiddenSize: _, ...settings } = headStructure(spec);
  return JSON.stringify(settings);
}

/**
 * Runs all models on the windows and compares them with the first.
 * @param runners - the reference model first; `incomparable` must be null for each of the others
 * @param windows - token ids, each [T], T >= 2
 * @throws GpruneError BAD_TEXT for no windows, or one of a single token; BAD_ARGUMENT without a model
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
  const perWindow = windows[0]!.length * widestState(spec) * 4 * runners.length;
  const lot = Math.max(1, Math.floor(MAX_HIDDEN_BYTES / perWindow));
  const total = tokensOf(windows);
  const sums = runners.map(() => new Sums(spec));
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

/** All models on the windows of one lot. */
interface Passage {
  readonly runners: readonly DecoderRunner[];
  /** Hidden states by model, in micro-batches of the same windows. */
  readonly streams: readonly (readonly MicroBatch[])[];
  readonly sums: readonly Sums[];
}

/** Runs the streams through all layers and adds up their distances from the first model's. */
async function passLayers(
  { runners, streams, sums }: Passage,
  onLayer: (layers: number) => void,
): Promise<void> {
  for (let index = 0; index < runners[0]!.model.spec.layers.length; index++) {
    for (const [m, runner] of runners.entries()) {
      const layer = await runner.loadLayer(index);
      try {
        for (const [b, batch] of streams[m]!.entries()) {
          const outputs = await runner.runLayer("forward", layer, { hidden: batch.hidden, ids: batch.ids });
          batch.hidden = outputs.hidden!;
          if (m > 0) sums[m]!.addLayer(index, batch.hidden, streams[0]![b]!.hidden);
        }
      } finally {
        runner.runtime.release(layer.weights);
      }
    }
    onLayer(index + 1);
  }
}

/** Runs the heads on the last layers' outputs. The first head's weights stay in memory, the others' one at a time. */
async function passHeads({ runners, streams, sums }: Passage): Promise<void> {
  const first = await runners[0]!.loadHead();
  const teacher = Object.fromEntries(
    Object.entries(first.weights).map(([name, weight]) => [`teacher.${name}`, weight]),
  );
  try {
    for (const [m, runner] of runners.entries()) {
      const head = m === 0 ? first : await runner.loadHead();
      const pair = { weights: { ...head.weights, ...teacher } };
      try {
        for (const [b, batch] of streams[m]!.entries()) {
          const rows = { hidden: hiddenRows(batch), targets: nextTokens(batch) };
          const outputs =
            m === 0
              ? await runner.runHead("loss", head, rows)
              : await runner.runHead("divergence", pair, { ...rows, teacher: hiddenRows(streams[0]![b]!) });
          sums[m]!.addPredictions(batch.tokens, outputs);
        }
      } finally {
        if (m > 0) runner.runtime.release(head.weights);
      }
      collectIfGrown(runner.memory);
    }
  } finally {
    runners[0]!.runtime.release(first.weights);
  }
}

/** Sums of one model over all windows, in float64. */
class Sums {
  readonly #hiddenSize: number;
  readonly #layers: Float64Array;
  #tokens = 0;
  #predictions = 0;
  #nll = 0;
  #kl = 0;
  #agreed = 0;

  constructor({ hiddenSize, layers }: ModelSpec) {
    this.#hiddenSize = hiddenSize;
    this.#layers = new Float64Array(layers.length);
  }

  /** @param other - output of layer `index`, [B, T, C]; @param first - that of the first model */
  addLayer(index: number, other: Tensor, first: Tensor): void {
    const width = other.shape.at(-1)!;
    for (let start = 0; start < other.data.length; start += width) {
      this.#layers[index]! += relativeError(other.data, first.data, { start, end: start + this.#hiddenSize });
    }
    if (index === 0) this.#tokens += other.data.length / width;
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
    return textScore({ nll: this.#nll, predictions: this.#predictions }, windows);
  }

  divergence(other: TextScore, first: TextScore): Divergence {
    return {
      // Rounding may put a divergence of zero slightly below it.
      kl: Math.max(0, this.#kl / this.#predictions),
      agreement: this.#agreed / this.#predictions,
      loss_difference: other.nll - first.nll,
      layers: Array.from(this.#layers, (sum) => sum / this.#tokens),
    };
  }
}

/** |other - first| / |first| over the elements from `start` to `end`; 1 where only `first` is zero. */
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
