/**
 * Gradients of the loss with respect to one gate per channel, by backward graphs (graph/decoder/backward.ts).
 */

import { type Reporting, silent } from "../base/progress.ts";
import type { Keeping } from "../graph/decoder/backward.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { microBatches, type TokenBatch } from "../graph/decoder/forward.ts";
import { channelCount, OUTPUT_PROJECTION, type Space, spacesOf } from "../model/spaces.ts";
import { type ModelSpec, takesBias } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { windowValues } from "./window_gradients.ts";

/** Loss and gate gradients of one window. */
export interface WindowGradients {
  /** Mean next-token cross entropy of the window, nats. */
  readonly loss: number;
  /**
   * d loss / d g by space id, shape [channels], where the channel's activation is centre + (x - centre) * g and
   * g = 1.
   */
  readonly gates: ReadonlyMap<string, Float32Array>;
}

/** Options of {@link gateGradients}. */
export interface GateGradientOptions extends Keeping, Partial<Reporting> {
  /** Values that replace removed channels, [channels] by space id; zero where absent. */
  readonly centres?: ReadonlyMap<string, Float32Array>;
}

/** Gate gradients of every window, in order. */
export async function gateGradients(
  runner: DecoderRunner,
  windows: readonly Int32Array[],
  options: GateGradientOptions = {},
): Promise<readonly WindowGradients[]> {
  return batchGradients(runner, microBatches(windows), options);
}

/** Gate gradients of every window of micro-batches, in order. */
export async function batchGradients(
  runner: DecoderRunner,
  tokens: readonly TokenBatch[],
  { centres = new Map(), stage = "gradients", onProgress = silent, ...keeping }: GateGradientOptions = {},
): Promise<readonly WindowGradients[]> {
  const spaces = spacesOf(runner.model.spec);
  const windows = await windowValues(runner, tokens, {
    program: "backward",
    ...keeping,
    stage,
    onProgress,
    feeds: ({ index }) =>
      Object.fromEntries(
        spaces
          .filter((space) => space.layer === index && hasCentre(runner.model.spec, space))
          .map((space) => [`${space.kind}.centre`, centreOf(space, centres)]),
      ),
    take: (space, outputs, window) => {
      const channels = channelCount(space);
      return outputs[`${space.kind}.gate`]!.data.slice(window * channels, (window + 1) * channels);
    },
  });
  return windows.map(({ loss, spaces: gates }) => ({ loss, gates }));
}

/** Whether removed channels of a space are replaced by their means, for which a bias must have room. */
export function hasCentre({ layers }: Pick<ModelSpec, "layers">, { layer, kind }: Space): boolean {
  return takesBias(layers[layer]!, OUTPUT_PROJECTION[kind]);
}

/** Values that replace removed channels of a space, [channels]; zeros unless `centres` has others. */
export function centreOf(space: Space, centres: ReadonlyMap<string, Float32Array>): Tensor {
  const data = centres.get(space.id) ?? new Float32Array(channelCount(space));
  return { shape: [data.length], data };
}
