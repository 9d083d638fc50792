/**
 * The way back through a model: forward through all layers keeping layer inputs, the head in chunks, then backwards
 * layer by layer. What layers computed is kept as well where there is room for it, or computed again, which gives the
 * same bits.
 */
import type { OnProgress, Reporting } from "../../base/progress.ts";
import { MemoryStash, type Stash } from "../../tensor/stash.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { withTextsInErrors } from "../runtime/finite.ts";
import type { Feeds } from "../runtime/runtime.ts";
import type { DecoderRunner, LoadedLayer, Outputs } from "./decoder_runner.ts";
import {
  batchTokens,
  embedMicroBatches,
  forwardLayers,
  hiddenRows,
  type MicroBatch,
  nextTokens,
  type TokenBatch,
} from "./forward.ts";
import type { BackwardProgram } from "./programs.ts";

/** The input of every layer of every micro-batch, [B, T, C] each, in a stash, and in memory what was kept beside it. */
export class LayerInputs {
  readonly #stash: Stash;
  readonly #batches: number;
  readonly #kept = new Map<number, Feeds>();

  /** @param batches - number of micro-batches */
  constructor(stash: Stash, batches: number) {
    this.#stash = stash;
    this.#batches = batches;
  }

  put(layer: number, batch: number, hidden: Tensor): Promise<void> {
    return this.#stash.put(layer * this.#batches + batch, hidden);
  }

  /** @param values - outputs of the program `keeping` */
  keep(layer: number, batch: number, values: Feeds): void {
    this.#kept.set(layer * this.#batches + batch, values);
  }

  /** What was kept, which is gone afterwards; undefined where nothing was. */
  takeKept(layer: number, batch: number): Feeds | undefined {
    const slot = layer * this.#batches + batch;
    const values = this.#kept.get(slot);
    this.#kept.delete(slot);
    return values;
  }

  /** Reads ahead in the order of the way back: all micro-batches of a layer, then those of the layer before it. */
  get(layer: number, batch: number): Promise<Tensor> {
    const slot = layer * this.#batches + batch;
    const next = batch + 1 < this.#batches ? slot + 1 : slot + 1 - 2 * this.#batches;
    return this.#stash.get(slot, next < 0 ? undefined : next);
  }
}

/** What is kept on the way forward. */
export interface Keeping {
  /** Where the inputs of layers wait; in memory when absent. */
  readonly stash?: Stash | undefined;
  /** Whether what the way back would compute again stays in memory. */
  readonly activations?: boolean | undefined;
}

/** Moves the micro-batches through all layers. */
export async function forwardKeepingInputs(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
  { stash = new MemoryStash(), activations = false, ...reporting }: Reporting & Keeping,
): Promise<LayerInputs> {
  const inputs = new LayerInputs(stash, batches.length);
  const onInput = (layer: number, batch: number, hidden: Tensor): Promise<void> =>
    inputs.put(layer, batch, hidden);
  await forwardLayers(runner, batches, {
    ...reporting,
    onInput,
    ...(activations && {
      program: "keeping",
      onOutputs: ({ index }, batch, { hidden: _, ...kept }) => inputs.keep(index, batch, kept),
    }),
  });
  return inputs;
}

/** What the head is asked to make small. */
export interface Objective {
  readonly program: "lossBackward" | "divergenceBackward";
  /** What the program takes besides hidden states, with one row for each token of the micro-batch. */
  feeds(batch: MicroBatch, index: number): Feeds;
  /** Whether a window's last token counts: it has no next token to be predicted. */
  readonly countsLast: boolean;
}

/** Cross entropy of the next token. */
const NEXT_TOKEN: Objective = {
  program: "lossBackward",
  feeds: (batch) => ({ targets: nextTokens(batch) }),
  countsLast: false,
};

/** Divergence from a dense model. @param teacher - its final hidden states by micro-batch, [B, T, C] */
export function divergenceFrom(teacher: readonly Tensor[]): Objective {
  return {
    program: "divergenceBackward",
    feeds: (batch, index) => ({ teacher: hiddenRows({ ...batch, hidden: teacher[index]! }) }),
    countsLast: true,
  };
}

/**
 * Runs the head on final hidden states and leaves in each micro-batch's `hidden` the gradient of the sum over windows
 * of each window's mean objective.
 * @returns the objective's mean over the tokens of every window, nats
 */
export async function headBackward(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
  { program, feeds, countsLast }: Objective = NEXT_TOKEN,
): Promise<readonly number[]> {
  const head = await runner.loadHead();
  const losses: number[] = [];
  for (const [index, batch] of batches.entries()) {
    const { tokens } = batch;
    const counted = countsLast ? tokens : tokens - 1;
    const weights = Float32Array.from({ length: batch.ids.length }, (_, i) =>
      i % tokens < counted ? 1 / counted : 0,
    );
    const upstream = { shape: [weights.length, 1], data: weights };
    const rows = { hidden: hiddenRows(batch), ...feeds(batch, index), upstream };
    const { nll, hidden } = await withTextsInErrors(batch.texts, () => runner.runHead(program, head, rows));
    for (let start = 0; start < weights.length; start += tokens) {
      let loss = 0;
      for (let i = start; i < start + tokens; i++) loss += nll!.data[i]! * weights[i]!;
      losses.push(loss);
    }
    batch.hidden = { shape: batch.hidden.shape, data: hidden!.data };
  }
  return losses;
}

export interface BackwardOptions extends Reporting {
  readonly program: BackwardProgram;
  /** Layer inputs as `forwardKeepingInputs` gives them. */
  readonly inputs: LayerInputs;
  /** What the program takes besides the layer input and `upstream`. */
  readonly feeds?: (layer: LoadedLayer) => Feeds | Promise<Feeds>;
  /**
   * Called with the outputs of every layer and micro-batch, when its `hidden` is the gradient of the layer's input;
   * waited for.
   */
  readonly onOutputs: (layer: LoadedLayer, batch: number, outputs: Outputs) => unknown;
  /** Called when all micro-batches are through a layer. */
  readonly onLayer?: (layer: LoadedLayer) => void;
}

/** Takes the gradients in the micro-batches' `hidden` from the last layer's output to the first one's input. */
export async function backwardLayers(
  runner: DecoderRunner,
  batches: readonly MicroBatch[],
  { program, inputs, feeds, onOutputs, onLayer, stage, onProgress }: BackwardOptions,
): Promise<void> {
  const layers = runner.model.spec.layers.length;
  const total = batchTokens(batches);
  let tokenLayers = 0;
  for await (const layer of runner.loadLayers(layers - 1, -1)) {
    const fixed = await feeds?.(layer);
    for (const [position, batch] of batches.entries()) {
      const hidden = await inputs.get(layer.index, position);
      const kept = inputs.takeKept(layer.index, position);
      const feeds = { ...fixed, ...kept, upstream: batch.hidden };
      const own = kept === undefined ? program : (`${program}Kept` as const);
      const outputs = await withTextsInErrors(batch.texts, () =>
        runner.runLayer(own, layer, { hidden, feeds }),
      );
      batch.hidden = outputs.hidden!;
      await onOutputs(layer, position, outputs);
      tokenLayers += batch.ids.length;
      const detail = `backward, layer ${layer.index + 1}/${layers}`;
      onProgress({ stage, done: tokenLayers / layers, total, unit: "tokens", detail });
    }
    onLayer?.(layer);
  }
}

/** What is asked of the way back from the loss of windows. */
export interface LossGradientOptions
  extends Pick<BackwardOptions, "program" | "feeds" | "onOutputs">,
    Keeping,
    Reporting {}

/**
 * Windows in micro-batches forward, and the gradients of each window's mean next-token cross entropy back through all
 * layers, reported as one stage.
 * @returns that mean of every window, nats
 */
export async function lossGradients(
  runner: DecoderRunner,
  tokens: readonly TokenBatch[],
  { stash, activations, stage, onProgress, ...backward }: LossGradientOptions,
): Promise<readonly number[]> {
  const batches = await embedMicroBatches(runner, tokens);
  const total = 2 * batchTokens(batches);
  const report =
    (base: number): OnProgress =>
    (event) =>
      onProgress({ ...event, done: base + event.done, total });
  const keeping = { stash, activations, stage, onProgress: report(0) };
  const inputs = await forwardKeepingInputs(runner, batches, keeping);
  const losses = await headBackward(runner, batches);
  await backwardLayers(runner, batches, { ...backward, inputs, stage, onProgress: report(total / 2) });
  return losses;
}
