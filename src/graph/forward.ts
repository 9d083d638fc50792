/**
 * The layer-by-layer forward pass over many windows of text: all windows go through layer i before any goes through
 * layer i + 1, so weights are read once and memory holds one layer and the hidden states.
 */
import { internalError } from "../errors.ts";
import type { OnProgress } from "../progress.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { DecoderRunner, LoadedLayer, Outputs } from "./decoder_runner.ts";
import { naming } from "./finite.ts";
import type { TokenForest } from "./prefix_forest.ts";
import type { LayerProgram } from "./programs.ts";

/** Windows of equal length that go through the graphs together; `hidden` moves on from layer to layer. */
export interface MicroBatch {
  /** Token ids, B*T. */
  readonly ids: Int32Array;
  readonly batch: number;
  readonly tokens: number;
  /** The token before each one, [T], when B = 1 and the tokens are a forest; absent when windows are sequences. */
  readonly parents?: Int32Array;
  /** Which texts these are, for messages: `calibration set web`. */
  readonly texts?: string;
  /** [B, T, C], the input of the next layer. */
  hidden: Tensor;
}

/** Hidden states held at once, bytes; what does not fit goes through the model in several passes. */
export const MAX_HIDDEN_BYTES: number = 2 ** 29;

/** Matrix products reach full speed from about 512 rows; more rows only cost cache and memory. */
const MICRO_BATCH_TOKENS = 1024;

/** Embeds windows, each [T], in micro-batches of equal length, keeping their order. */
export async function embedWindows(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
): Promise<readonly MicroBatch[]> {
  const [batches] = await embedGroups(runner, [windows]);
  return batches!;
}

/** Embeds several lots of windows with one pass over the embedding matrix; no micro-batch holds windows of two lots. */
export async function embedGroups(
  runner: DecoderRunner,
  groups: readonly (readonly Int32Array[])[],
): Promise<readonly (readonly MicroBatch[])[]> {
  const windows = groups.flat();
  const ids = new Int32Array(windows.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const window of windows) {
    ids.set(window, start);
    start += window.length;
  }
  const { data } = await runner.embed(ids, [1, ids.length]);
  const size = runner.model.spec.hiddenSize;
  let offset = 0;
  return groups.map((group) =>
    lotsOfEqualLength(group).map(({ batch, tokens }): MicroBatch => {
      const end = offset + batch * tokens;
      const shape = [batch, tokens, size];
      const hidden = { shape, data: data.subarray(offset * size, end * size) };
      const lot = { ids: ids.subarray(offset, end), batch, tokens, hidden };
      offset = end;
      return lot;
    }),
  );
}

/** Embeds forests, each a micro-batch of its own, with one pass over the embedding matrix. */
export async function embedForests(
  runner: DecoderRunner,
  forests: readonly TokenForest[],
): Promise<readonly MicroBatch[]> {
  const groups = await embedGroups(
    runner,
    forests.map(({ ids }) => [ids]),
  );
  return groups.map(([batch], index) => ({ ...batch!, parents: forests[index]!.parents }));
}

/** Numbers of consecutive windows of equal length that go together. */
function lotsOfEqualLength(
  windows: readonly Int32Array[],
): readonly { readonly batch: number; readonly tokens: number }[] {
  const lots: { batch: number; tokens: number }[] = [];
  for (const { length: tokens } of windows) {
    if (tokens === 0) throw internalError("an empty window");
    const last = lots.at(-1);
    const fits = last?.tokens === tokens && (last.batch + 1) * tokens <= MICRO_BATCH_TOKENS;
    if (fits) last.batch += 1;
    else lots.push({ batch: 1, tokens });
  }
  return lots;
}

export interface ForwardOptions {
  /** Which layer program runs; it must give `hidden`. */
  readonly program?: Exclude<LayerProgram, "cached" | "backward" | "train">;
  /** Called with every output of every layer and micro-batch, before `hidden` is replaced; waited for. */
  readonly onOutputs?: (layer: LoadedLayer, batch: number, outputs: Outputs) => unknown;
  /** The first layer; hidden states are its inputs. 0 when absent. */
  readonly from?: number | undefined;
  /** Called after each layer with the index of the next one; waited for. */
  readonly onLayer?: (next: number) => Promise<void>;
  readonly stage: string;
  readonly onProgress: OnProgress;
}

/** Moves every micro-batch's hidden states through all layers. */
export async function forwardLayers(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
  { program = "forward", onOutputs, from = 0, onLayer, stage, onProgress }: ForwardOptions,
): Promise<void> {
  const layers = runner.model.spec.layers.length;
  const total = batches.reduce((sum, { ids }) => sum + ids.length, 0);
  let tokenLayers = from * total;
  for (let index = from; index < layers; index++) {
    const layer = await runner.loadLayer(index);
    for (const [position, batch] of batches.entries()) {
      const { hidden, parents, texts } = batch;
      const outputs = await naming(texts, () => runner.runLayer(program, layer, { hidden, parents }));
      await onOutputs?.(layer, position, outputs);
      batch.hidden = outputs.hidden!;
      tokenLayers += batch.ids.length;
      const detail = `layer ${index + 1}/${layers}`;
      onProgress({ stage, done: tokenLayers / layers, total, unit: "tokens", detail });
      // The event loop stands still during a run; let timers and signals in between two of them.
      await new Promise(setImmediate);
    }
    await onLayer?.(index + 1);
  }
}

/** Where a forward pass stands: the next layer, and the input of it of every micro-batch. */
export interface ForwardState {
  readonly next: number;
  readonly hidden: readonly Tensor[];
}

/** Where micro-batches stand before layer `next`. */
export function forwardState(next: number, batches: readonly MicroBatch[]): ForwardState {
  return { next, hidden: batches.map(({ hidden }) => hidden) };
}

/** Puts micro-batches back to where they stood. @returns the next layer; 0 when there is no state */
export function resumeForward(state: ForwardState | undefined, batches: readonly MicroBatch[]): number {
  if (state === undefined) return 0;
  for (const [index, hidden] of state.hidden.entries()) batches[index]!.hidden = hidden;
  return state.next;
}

/** Hidden states of a micro-batch as rows [B*T, C], as the head takes them. */
export function hiddenRows({ hidden, batch, tokens }: MicroBatch): Tensor {
  return { shape: [batch * tokens, hidden.shape[2]!], data: hidden.data };
}

/** For every position the next token of its window, shape [B*T, 1]; the last position of a window gets token 0. */
export function nextTokens({ ids, tokens }: MicroBatch): {
  readonly shape: readonly number[];
  readonly data: Int32Array;
} {
  const data = new Int32Array(ids.length);
  for (let i = 0; i + 1 < ids.length; i++) if ((i + 1) % tokens !== 0) data[i] = ids[i + 1]!;
  return { shape: [ids.length, 1], data };
}
