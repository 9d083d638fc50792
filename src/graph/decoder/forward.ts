/**
 * The layer-by-layer forward pass over many windows of text: all windows go through layer i before any goes through
 * layer i + 1, so weights are read once and memory holds one layer and the hidden states.
 */

import { badArgument } from "../../base/arguments.ts";
import type { Reporting } from "../../base/progress.ts";
import { linearAttentionsOf } from "../../model/mixer_layers.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { concatenated } from "../../tensor/integers.ts";
import { type AnyTensor, loaded, type Stash, stored } from "../../tensor/stash.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { withTextsInErrors } from "../runtime/finite.ts";
import type { Feeds } from "../runtime/runtime.ts";
import type { DecoderRunner, LoadedLayer, Outputs } from "./decoder_runner.ts";
import { requireKnownTokens } from "./embedding_rows.ts";
import { hasSameFrequencies } from "./frequencies.ts";
import { widestState } from "./layer_structure.ts";
import { batchPositions } from "./positions.ts";
import { depths, MAX_FOREST_TOKENS, parentsByForest, type TokenForest } from "./prefix_forest.ts";
import type { LayerProgram } from "./programs.ts";

/** Windows of equal length that go through the graphs together. */
export interface TokenBatch {
  /** Token ids, B*T. */
  readonly ids: Int32Array;
  readonly batch: number;
  readonly tokens: number;
  /** The token before each one of its row, [B*T], when rows are forests; absent when they are sequences. */
  readonly parents?: Int32Array;
  /** Name of the texts, for messages: `calibration set web`. */
  readonly texts?: string;
}

/** A micro-batch with its hidden states in memory. */
export interface MicroBatch extends TokenBatch {
  /** [B, T, C], the input of the next layer; replaced by every layer. */
  hidden: Tensor;
}

/** Micro-batches whose hidden states, [B, T, C] each, are in a stash between layers, by their indices. */
export interface Stream {
  readonly batches: readonly TokenBatch[];
  readonly states: Stash;
}

/** Hidden states held at once, bytes; what does not fit goes through the model in several passes. */
export const MAX_HIDDEN_BYTES: number = 2 ** 29;

/** Matrix products reach full speed from about 512 rows; more rows only cost cache and memory. */
export const MICRO_BATCH_TOKENS = 1024;

/** Long sequences are padded to multiples of this, since every length has graphs and a mask of its own. */
const LONG_STEP = 1024;

/** Largest size of the embeddings made in one pass over the embedding matrix, bytes. */
const MAX_EMBEDDED_BYTES = 2 ** 27;

/** Embeds windows, each [T], in micro-batches of equal length, keeping their order. */
export async function embedWindows(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
): Promise<readonly MicroBatch[]> {
  return embedMicroBatches(runner, microBatches(windows));
}

/** Embeds micro-batches with one pass over the embedding matrix. */
export async function embedMicroBatches(
  runner: DecoderRunner,
  batches: readonly TokenBatch[],
): Promise<readonly MicroBatch[]> {
  for (const { ids, texts } of batches) requireKnownTokens(ids, runner.model.spec.vocabSize, texts);
  const allIds = concatenated(batches.map(({ ids }) => ids));
  const positions = concatenated(batches.map(positionsOf));
  const { data } = await runner.embed(allIds, [1, allIds.length], positions);
  const size = runner.model.spec.hiddenSize;
  let offset = 0;
  return batches.map((microBatch) => {
    const { ids, batch, tokens } = microBatch;
    const start = offset;
    offset += ids.length * size;
    return { ...microBatch, hidden: { shape: [batch, tokens, size], data: data.subarray(start, offset) } };
  });
}

/** Positions of a micro-batch's tokens in their sequences, [B*T]. */
function positionsOf({ batch, tokens, parents }: TokenBatch): Int32Array {
  if (parents === undefined) return batchPositions(batch, { tokens, offset: 0 });
  return concatenated(parentsByForest(parents, batch).map(depths));
}

/** Embeds micro-batches into a stash, by their indices. */
async function embedStream(runner: DecoderRunner, { batches, states }: Stream): Promise<void> {
  const perToken = 4 * runner.model.spec.hiddenSize;
  for (let start = 0; start < batches.length; ) {
    let end = start;
    for (let bytes = 0; end < batches.length; end++) {
      bytes += perToken * batches[end]!.ids.length;
      if (bytes > MAX_EMBEDDED_BYTES && end > start) break;
    }
    for (const { hidden, ids } of await embedMicroBatches(runner, batches.slice(start, end))) {
      await states.put(start++, hidden, ids.length * widestState(runner.model.spec));
    }
  }
}

/**
 * Windows, each [T], as micro-batches of equal length, keeping their order. @throws GpruneError BAD_ARGUMENT for an
 * empty one
 */
export function microBatches(windows: readonly Int32Array[], texts?: string): readonly TokenBatch[] {
  let next = 0;
  return microBatchSizes(windows).map(({ batch, tokens }) => {
    const ids = concatenated(windows.slice(next, next + batch));
    next += batch;
    return { ids, batch, tokens, ...(texts !== undefined && { texts }) };
  });
}

/** Total number of tokens of windows. */
export function tokensOf(windows: readonly Int32Array[]): number {
  return windows.reduce((sum, window) => sum + window.length, 0);
}

/** Total number of tokens of the windows of sets. */
export function tokensOfSets(sets: readonly { readonly windows: readonly Int32Array[] }[]): number {
  return sets.reduce((sum, { windows }) => sum + tokensOf(windows), 0);
}

/** Total number of tokens of micro-batches. */
export function batchTokens(batches: readonly TokenBatch[]): number {
  return tokensOf(batches.map(({ ids }) => ids));
}

/** Micro-batch of a forest, and its row there. */
export interface ForestPlace {
  readonly batch: number;
  readonly row: number;
}

/**
 * Embeds forests with one pass over the embedding matrix. Forests of about the same size share a micro-batch, the
 * smaller ones padded with tokens that have no successors. One of more than `MAX_FOREST_TOKENS` must be a sequence, and
 * becomes one.
 * @returns the micro-batches, and the place of every forest
 */
export async function embedForests(
  runner: DecoderRunner,
  forests: readonly TokenForest[],
): Promise<{ readonly batches: readonly MicroBatch[]; readonly places: readonly ForestPlace[] }> {
  // Linear attention computes the sequences of forests apart, of which padding would be many.
  const isAlone = linearAttentionsOf(runner.model.spec).length > 0;
  const groups = isAlone ? forests.map((_, index) => [index]) : groupsOfForests(forests);
  const places: ForestPlace[] = Array(forests.length);
  for (const [batch, group] of groups.entries()) {
    for (const [row, forest] of group.entries()) places[forest] = { batch, row };
  }
  const batches = groups.map((group) => {
    const members = group.map((forest) => forests[forest]!);
    const [largest] = members as [TokenForest];
    return largest.ids.length > MAX_FOREST_TOKENS
      ? padSequence(runner.model.spec, largest)
      : padForests(members);
  });
  return { batches: await embedMicroBatches(runner, batches), places };
}

/** Indices of the forests that share a micro-batch, largest first. */
function groupsOfForests(forests: readonly TokenForest[]): readonly (readonly number[])[] {
  const size = (forest: number): number => forests[forest]!.ids.length;
  const groups: number[][] = [];
  for (const forest of [...forests.keys()].sort((a, b) => size(b) - size(a) || a - b)) {
    const last = groups.at(-1);
    const fits = last !== undefined && (last.length + 1) * size(last[0]!) <= MICRO_BATCH_TOKENS;
    if (fits) last.push(forest);
    else groups.push([forest]);
  }
  return groups;
}

/** One micro-batch of forests, padded to the size of the first, which must be the largest. */
function padForests(forests: readonly TokenForest[]): TokenBatch & { readonly parents: Int32Array } {
  const tokens = forests[0]!.ids.length;
  const ids = new Int32Array(forests.length * tokens);
  const parents = new Int32Array(forests.length * tokens).fill(-1);
  for (const [row, forest] of forests.entries()) {
    ids.set(forest.ids, row * tokens);
    parents.set(forest.parents, row * tokens);
  }
  return { ids, batch: forests.length, tokens, parents };
}

/**
 * A sequence padded at its end, where its tokens do not see the padding; not padded where the greater length would
 * change rotary frequencies.
 */
function padSequence(spec: ModelSpec, { ids }: TokenForest): TokenBatch {
  const longer = Math.ceil(ids.length / LONG_STEP) * LONG_STEP;
  const tokens = hasSameFrequencies(spec, [ids.length, longer]) ? longer : ids.length;
  const row = new Int32Array(tokens);
  row.set(ids);
  return { ids: row, batch: 1, tokens };
}

/** Sizes of micro-batches of consecutive windows of equal length. */
function microBatchSizes(
  windows: readonly Int32Array[],
): readonly { readonly batch: number; readonly tokens: number }[] {
  const sizes: { batch: number; tokens: number }[] = [];
  for (const { length: tokens } of windows) {
    if (tokens === 0) throw badArgument("windows", "at least one token in each", "an empty one");
    const last = sizes.at(-1);
    const fits = last?.tokens === tokens && (last.batch + 1) * tokens <= MICRO_BATCH_TOKENS;
    if (fits) last.batch += 1;
    else sizes.push({ batch: 1, tokens });
  }
  return sizes;
}

/** Layer programs that run over sequences and give the next layer's `hidden`. */
export type ForwardProgram = Extract<
  LayerProgram,
  "forward" | "statistics" | "gram" | "moments" | "statisticsAndMoments" | "keeping"
>;

export interface ForwardOptions extends Reporting {
  /** The program to run, one for all micro-batches or one for each; on forests it is always `forest`. */
  readonly program?: ForwardProgram | ((batch: number) => ForwardProgram);
  /** Inputs of programs besides those of `buildLayer`; programs ignore inputs that they do not have. */
  readonly feeds?: (layer: LoadedLayer) => Feeds;
  /** Called with the outputs of every layer and micro-batch, before `hidden` is replaced; awaited. */
  readonly onOutputs?: (layer: LoadedLayer, batch: number, outputs: Outputs) => unknown;
  /** Called with the input of every layer and micro-batch, before the layer runs; awaited. */
  readonly onInput?: (layer: number, batch: number, hidden: Tensor) => Promise<void>;
  /** The first layer; hidden states are its inputs. 0 when absent. */
  readonly from?: number | undefined;
  /** The layer before which the pass ends; all layers when absent. */
  readonly end?: number | undefined;
  /** Called after each layer with the index of the next one; awaited. */
  readonly onLayer?: (next: number) => Promise<void>;
}

/** Moves every micro-batch's hidden states through all layers. */
export async function forwardLayers(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
  options: ForwardOptions,
): Promise<void> {
  await forwardStream(runner, { batches, states: new InPlace(batches) }, options);
}

/** Moves hidden states in a stash through all layers. */
export async function forwardStream(
  runner: DecoderRunner,
  { batches, states }: Stream,
  options: ForwardOptions,
): Promise<void> {
  const {
    program = "forward",
    feeds,
    onOutputs,
    onInput,
    from = 0,
    end,
    onLayer,
    stage,
    onProgress,
  } = options;
  const programOf = typeof program === "function" ? program : (): ForwardProgram => program;
  const layers = runner.model.spec.layers.length;
  const total = batchTokens(batches);
  let tokenLayers = from * total;
  for await (const layer of runner.loadLayers(from, end ?? layers)) {
    const layerFeeds = feeds?.(layer) ?? {};
    for (const [index, { ids, parents, texts }] of batches.entries()) {
      const hidden = await states.get(index, (index + 1) % batches.length);
      await onInput?.(layer.index, index, hidden);
      const layerProgram = parents === undefined ? programOf(index) : "forest";
      const outputs = await withTextsInErrors(texts, () =>
        runner.runLayer(layerProgram, layer, { hidden, ids, parents, feeds: layerFeeds }),
      );
      await onOutputs?.(layer, index, outputs);
      await states.put(index, outputs.hidden!);
      tokenLayers += ids.length;
      const detail = `layer ${layer.index + 1}/${layers}`;
      onProgress({ stage, done: tokenLayers / layers, total, unit: "tokens", detail });
    }
    await onLayer?.(layer.index + 1);
  }
}

/** A stash of the hidden states that micro-batches hold themselves. */
class InPlace implements Stash {
  readonly #batches: readonly MicroBatch[];

  constructor(batches: readonly MicroBatch[]) {
    this.#batches = batches;
  }

  async put(slot: number, hidden: Tensor): Promise<void> {
    this.#batches[slot]!.hidden = hidden;
  }

  async get(slot: number): Promise<Tensor> {
    return this.entry(slot);
  }

  entry(slot: number): Tensor {
    return this.#batches[slot]!.hidden;
  }

  async close(): Promise<void> {}
}

/** State of a forward pass between two layers: the next layer, and its input for every micro-batch. */
export interface ForwardState {
  readonly next: number;
  readonly hidden: readonly AnyTensor[];
}

/**
 * State of a forward pass before layer `next`. A saved state is read back one micro-batch at a time, even if hidden
 * states were in memory.
 */
export function forwardState(next: number, { batches, states }: Stream): ForwardState {
  return { next, hidden: batches.map((_, index) => stored(states.entry(index))) };
}

/** Begins a pass with the embeddings, or resumes it from a state. @returns the next layer */
export async function beginForward(
  runner: DecoderRunner,
  stream: Stream,
  state: ForwardState | undefined,
): Promise<number> {
  if (state === undefined) {
    await embedStream(runner, stream);
    return 0;
  }
  for (const [index, hidden] of state.hidden.entries()) {
    const room = stream.batches[index]!.ids.length * widestState(runner.model.spec);
    await stream.states.put(index, await loaded(hidden), room);
  }
  return state.next;
}

/** Hidden states of a micro-batch as rows [B*T, C], as the head takes them. */
export function hiddenRows({ hidden, batch, tokens }: MicroBatch): Tensor {
  return { shape: [batch * tokens, hidden.shape[2]!], data: hidden.data };
}

/** For every position the next token of its window, shape [B*T, 1]; the last position of a window gets token 0. */
export function nextTokens({ ids, tokens }: TokenBatch): {
  readonly shape: readonly number[];
  readonly data: Int32Array;
} {
  const data = new Int32Array(ids.length);
  for (let i = 0; i + 1 < ids.length; i++) if ((i + 1) % tokens !== 0) data[i] = ids[i + 1]!;
  return { shape: [ids.length, 1], data };
}
