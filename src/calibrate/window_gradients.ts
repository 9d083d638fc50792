/** Values of every window and space from the backward pass of the loss, by any backward program. */
import { type LossGradientOptions, lossGradients } from "../graph/decoder/backward.ts";
import type { DecoderRunner, Outputs } from "../graph/decoder/decoder_runner.ts";
import type { TokenBatch } from "../graph/decoder/forward.ts";
import { type Space, spacesOf } from "../model/spaces.ts";

/** The loss of one window, and a value for every space. */
export interface WindowValues<T> {
  /** Mean next-token cross entropy of the window, nats. */
  readonly loss: number;
  /** By space id. */
  readonly spaces: ReadonlyMap<string, T>;
}

export interface WindowValueOptions<T> extends Omit<LossGradientOptions, "onOutputs"> {
  /** Takes the value of a space from the program's outputs, for one window of the micro-batch. */
  readonly take: (space: Space, outputs: Outputs, window: number) => T;
  /** Selects spaces; all when absent. */
  readonly wanted?: (space: Space) => boolean;
}

/**
 * Factor that divides a window's squared gate gradients by the root of their sum over the model, so that a window with
 * large gradients counts for less; 1 where all are 0.
 * @param squares - of every space
 */
export function dampingFactor(squares: Iterable<Float32Array | Float64Array>): number {
  let total = 0;
  for (const values of squares) for (const square of values) total += square;
  return total > 0 ? 1 / Math.sqrt(total) : 1;
}

/** Maps items one at a time, as they are iterated, so that only one result exists at once. */
export function* mapLazily<T, S>(items: readonly T[], map: (item: T) => S): Generator<S> {
  for (const item of items) yield map(item);
}

/** Values of every window, in order. Holds the layer inputs of all windows. */
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
  return values.flat().map((bySpace, index) => ({ loss: losses[index]!, spaces: bySpace }));
}
