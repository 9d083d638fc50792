/**
 * The layer-by-layer forward pass over many windows of text: all windows go through layer i before any goes through
 * layer i + 1, so weights are read once and memory holds one layer and the hidden states.
 */
import { internalError } from "../errors.ts";
import type { OnProgress } from "../progress.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { DecoderRunner, LoadedLayer, Outputs } from "./decoder_runner.ts";
import type { LayerProgram } from "./programs.ts";
import type { Feeds } from "./runtime.ts";

/** Windows of equal length that go through the graphs together; `hidden` moves on from layer to layer. */
export interface MicroBatch {
  /** Token ids, B*T. */
  readonly ids: Int32Array;
  readonly batch: number;
  readonly tokens: number;
  /** [B, T, C], the input of the next layer. */
  hidden: Tensor;
}

/** Matrix products reach full speed from about 512 rows; more rows only cost cache and memory. */
const MICRO_BATCH_TOKENS = 1024;

/** Embeds windows, each [T], in micro-batches of equal length, keeping their order. */
export async function embedWindows(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
): Promise<readonly MicroBatch[]> {
  const batches: MicroBatch[] = [];
  let start = 0;
  while (start < windows.length) {
    const tokens = windows[start]!.length;
    if (tokens === 0) throw internalError("an empty window");
    const limit = start + Math.max(1, Math.floor(MICRO_BATCH_TOKENS / tokens));
    let end = start + 1;
    while (end < Math.min(limit, windows.length) && windows[end]!.length === tokens) end++;
    const ids = new Int32Array((end - start) * tokens);
    for (let w = start; w < end; w++) ids.set(windows[w]!, (w - start) * tokens);
    const hidden = await runner.embed(ids, [end - start, tokens]);
    batches.push({ ids, batch: end - start, tokens, hidden });
    start = end;
  }
  return batches;
}

export interface ForwardOptions {
  /** Which layer program runs; it must give `hidden`. */
  readonly program?: Exclude<LayerProgram, "cached" | "backward">;
  /** Called with every output of every layer and micro-batch, before `hidden` is replaced. */
  readonly onOutputs?: (layer: LoadedLayer, batch: number, outputs: Outputs) => void;
  /** Extra feeds of a layer. */
  readonly feeds?: (layer: LoadedLayer) => Feeds;
  readonly stage: string;
  readonly onProgress: OnProgress;
}

/** Moves every micro-batch's hidden states through all layers. */
export async function forwardLayers(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
  { program = "forward", onOutputs, feeds, stage, onProgress }: ForwardOptions,
): Promise<void> {
  const layers = runner.model.spec.layers.length;
  const total = batches.reduce((sum, { ids }) => sum + ids.length, 0);
  let tokenLayers = 0;
  for (let index = 0; index < layers; index++) {
    const layer = await runner.loadLayer(index);
    const extra = feeds?.(layer) ?? {};
    for (const [position, batch] of batches.entries()) {
      const outputs = await runner.runLayer(program, layer, { hidden: batch.hidden, feeds: extra });
      onOutputs?.(layer, position, outputs);
      batch.hidden = outputs.hidden!;
      tokenLayers += batch.ids.length;
      const detail = `layer ${index + 1}/${layers}`;
      onProgress({ stage, done: tokenLayers / layers, total, unit: "tokens", detail });
      // The event loop stands still during a run; let timers and signals in between two of them.
      await new Promise(setImmediate);
    }
  }
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
