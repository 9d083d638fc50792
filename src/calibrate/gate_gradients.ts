/**
 * Gradients of the loss with respect to one gate per channel, by our own backward graphs: forward through all
 * layers keeping layer inputs, the head in chunks, then backwards layer by layer with recomputation.
 */
import type { DecoderRunner } from "../graph/decoder_runner.ts";
import { embedWindows, forwardLayers, hiddenRows, type MicroBatch, nextTokens } from "../graph/forward.ts";
import { type Space, spacesOf } from "../model/spaces.ts";
import { type OnProgress, silent } from "../progress.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What happens to the gradients of one window. */
export interface WindowGradients {
  /** Mean next-token cross entropy of the window, nats. */
  readonly loss: number;
  /**
   * d loss / d g by space id, shape [channels], where the channel's activation is center + (x - center) * g and
   * g = 1.
   */
  readonly gates: ReadonlyMap<string, Float32Array>;
}

export interface GateGradientOptions {
  /** What a removed channel is replaced by, [channels] by space id; zero where absent. */
  readonly centers?: ReadonlyMap<string, Float32Array>;
  readonly stage?: string;
  readonly onProgress?: OnProgress;
}

/** Gate gradients of every window, one after the other, in order. */
export async function gateGradients(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
  { centers = new Map(), stage = "gradients", onProgress = silent }: GateGradientOptions = {},
): Promise<readonly WindowGradients[]> {
  const batches = await embedWindows(runner, windows);
  const inputs: Tensor[][] = batches.map(() => []);
  const total = 2 * windows.reduce((sum, window) => sum + window.length, 0);
  const report =
    (base: number): OnProgress =>
    (event) =>
      onProgress({ ...event, done: base + event.done, total });
  await forwardLayers(runner, batches, {
    stage,
    onProgress: report(0),
    onOutputs: (_layer, batch) => inputs[batch]!.push(batches[batch]!.hidden),
  });
  const losses = await headBackward(runner, batches);
  const gates = await layersBackward(runner, batches, {
    inputs,
    centers,
    stage,
    onProgress: report(total / 2),
  });
  return losses.map((loss, window) => ({ loss, gates: gates[window]! }));
}

/** Losses per window; leaves d loss / d hidden in the micro-batches. */
async function headBackward(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
): Promise<readonly number[]> {
  const head = await runner.loadHead();
  const losses: number[] = [];
  for (const batch of batches) {
    const { tokens } = batch;
    const weights = Float32Array.from({ length: batch.ids.length }, (_, i) =>
      (i + 1) % tokens === 0 ? 0 : 1 / (tokens - 1),
    );
    const upstream = { shape: [weights.length, 1], data: weights };
    const rows = { hidden: hiddenRows(batch), targets: nextTokens(batch), upstream };
    const { nll, hidden } = await runner.runHead("lossBackward", head, rows);
    for (let start = 0; start < weights.length; start += tokens) {
      let loss = 0;
      for (let i = start; i < start + tokens; i++) loss += nll!.data[i]! * weights[i]!;
      losses.push(loss);
    }
    batch.hidden = { shape: batch.hidden.shape, data: hidden!.data };
  }
  return losses;
}

async function layersBackward(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
  {
    inputs,
    centers,
    stage,
    onProgress,
  }: Required<GateGradientOptions> & { readonly inputs: readonly (readonly Tensor[])[] },
): Promise<readonly Map<string, Float32Array>[]> {
  const spaces = spacesOf(runner.model.spec);
  const windows = batches.reduce((sum, { batch }) => sum + batch, 0);
  const gates = Array.from({ length: windows }, () => new Map<string, Float32Array>());
  const layers = runner.model.spec.layers.length;
  const total = batches.reduce((sum, { ids }) => sum + ids.length, 0);
  let tokenLayers = 0;
  for (let index = layers - 1; index >= 0; index--) {
    const layer = await runner.loadLayer(index);
    const own = spaces.filter((space) => space.layer === index);
    const centerFeeds = Object.fromEntries(
      own.map((space) => [`${space.kind}.center`, centerOf(space, centers)]),
    );
    let window = 0;
    for (const [position, batch] of batches.entries()) {
      const hidden = inputs[position]![index]!;
      const feeds = { ...centerFeeds, upstream: batch.hidden };
      const outputs = await runner.runLayer("backward", layer, { hidden, feeds });
      for (const { id, kind, units, unitChannels } of own) {
        const channels = units * unitChannels;
        const { data } = outputs[`${kind}.gate`]!;
        for (let b = 0; b < batch.batch; b++) {
          gates[window + b]!.set(id, data.slice(b * channels, (b + 1) * channels));
        }
      }
      batch.hidden = outputs.hidden!;
      window += batch.batch;
      tokenLayers += batch.ids.length;
      const detail = `backward, layer ${index + 1}/${layers}`;
      onProgress({ stage, done: tokenLayers / layers, total, unit: "tokens", detail });
      await new Promise(setImmediate);
    }
  }
  return gates;
}

function centerOf({ id, units, unitChannels }: Space, centers: ReadonlyMap<string, Float32Array>): Tensor {
  const data = centers.get(id) ?? new Float32Array(units * unitChannels);
  return { shape: [data.length], data };
}
