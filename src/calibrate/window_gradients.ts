/** What the way back from the loss gives for every window and space, by whichever program. */
import { type LossGradientOptions, lossGradients } from "../graph/decoder/backward.ts";
import type { DecoderRunner, Outputs } from "../graph/decoder/decoder_runner.ts";
import type { TokenBatch } from "../graph/decoder/forward.ts";
import { type Space, spacesOf } from "../model/spaces.ts";

/** What there is of a space in one window. */
export interface WindowValues<T> {
  /** Mean next-token cross entropy of the window, nats. */
  readonly loss: number;
  /** By space id. */
  readonly spaces: ReadonlyMap<string, T>;
}

export interface WindowValueOptions<T> extends Omit<LossGradientOptions, "onOutputs"> {
  /** Takes a space's value in a window of a micro-batch from what the program gave for that. */
  readonly take: (space: Space, outputs: Outputs, window: number) => T;
  /** Spaces that are asked for. */
  readonly wanted?: (space: Space) => boolean;
}

/** What is made of every window, one at a time. */
export function* eachOf<T, S>(windows: readonly T[], make: (window: T) => S): Generator<S> {
  for (const window of windows) yield make(window);
}

/** Values of every window, in order. The windows' layer inputs are held at once. */
export async function windowValues<T>(
  runner: DecoderRunner,
  batches: readonly TokenBatch[],
  { take, wanted = () => true, ...options }: WindowValueOptions<T>,
): Promise<readonly WindowValues<T>[]> {
  const spaces = spacesOf(runner.model.spec).filter(wanted);
  const values = batches.map(({ batch }) => Array.from({ length: batch }, () => new Map<string, T>()));
  const losses = await lossGradients(runner, batches, {
    ...options,
    onOutputs: ({ index }, batch, outputs) => {
      for (const space of spaces.filter(({ layer }) => layer === index)) {
        for (const [b, window] of values[batch]!.entries()) window.set(space.id, take(space, outputs, b));
      }
    },
  });
  return values.flat().map((own, index) => ({ loss: losses[index]!, spaces: own }));
}
