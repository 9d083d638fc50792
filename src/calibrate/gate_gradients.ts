/**
 * Gradients of the loss with respect to one gate per channel, by our own backward graphs (graph/backward.ts).
 */
import { backwardLayers, forwardKeepingInputs, headBackward } from "../graph/backward.ts";
import type { DecoderRunner } from "../graph/decoder_runner.ts";
import { embedWindows } from "../graph/forward.ts";
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
  const total = 2 * windows.reduce((sum, window) => sum + window.length, 0);
  const report =
    (base: number): OnProgress =>
    (event) =>
      onProgress({ ...event, done: base + event.done, total });
  const inputs = await forwardKeepingInputs(runner, batches, { stage, onProgress: report(0) });
  const losses = await headBackward(runner, batches);
  const spaces = spacesOf(runner.model.spec);
  const firstWindows = batches.map((_, index) =>
    batches.slice(0, index).reduce((sum, { batch }) => sum + batch, 0),
  );
  const gates = windows.map(() => new Map<string, Float32Array>());
  await backwardLayers(runner, batches, {
    program: "backward",
    inputs,
    stage,
    onProgress: report(total / 2),
    feeds: ({ index }) =>
      Object.fromEntries(
        spaces
          .filter(({ layer }) => layer === index)
          .map((space) => [`${space.kind}.center`, centerOf(space, centers)]),
      ),
    onOutputs: ({ index }, batch, outputs) => {
      for (const { id, kind, layer, units, unitChannels } of spaces) {
        if (layer !== index) continue;
        const channels = units * unitChannels;
        const { data } = outputs[`${kind}.gate`]!;
        for (let b = 0; b < batches[batch]!.batch; b++) {
          gates[firstWindows[batch]! + b]!.set(id, data.slice(b * channels, (b + 1) * channels));
        }
      }
    },
  });
  return losses.map((loss, window) => ({ loss, gates: gates[window]! }));
}

function centerOf({ id, units, unitChannels }: Space, centers: ReadonlyMap<string, Float32Array>): Tensor {
  const data = centers.get(id) ?? new Float32Array(units * unitChannels);
  return { shape: [data.length], data };
}
