/**
 * The backward pass through a model: forward through all layers keeping layer inputs, the head in chunks, then
 * backwards layer by layer. Activations within layers are kept as well where there is room, else computed again, with
 * the same bits.
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

/** Inputs of every layer and micro-batch, [B, T, C] each, in a stash, and kept activations, in memory. */
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

  /** Removes and returns kept activations; undefined where there are none. */
  takeKept(layer: number, batch: number): Feeds | undefined {
    const slot = layer * this.#batches + batch;
    const values = this.#kept.get(slot);
    this.#kept.delete(slot);
    return values;
  }

  /** Reads ahead in the order of the backward pass: all micro-batches of a layer, then those of the layer before it. */
  get(layer: number, batch: number): Promise<Tensor> {
    const slot = layer * this.#batches + batch;
    const next = batch + 1 < this.#batches ? slot + 1 : slot + 1 - 2 * this.#batches;
    return this.#stash.get(slot, next < 0 ? undefined : next);
  }
}

/** Stash and activations that a forward pass keeps for the backward pass. */
export interface Keeping {
  /** Stash for the inputs of layers; in memory when absent. */
  readonly stash?: Stash | undefined;
  /** Whether activations that the backward pass would compute again stay in memory. */
  readonly activations?: boolean | undefined;
}

/** Moves micro-batches through all layers, keeping layer inputs. */
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

/** The function of final hidden states that is differentiated. */
export interface Objective {
  readonly program: "lossBackward" | "divergenceBackward";
  /** Inputs of the program besides hidden states, with one row for each token of the micro-batch. */
  feeds(batch: MicroBatch, index: number): Feeds;
  /** Whether a window's last token counts, which has no next token to predict. */
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
  try {
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
  } finally {
    runner.runtime.release(head.weights);
  }
  return losses;
}

export interface BackwardOptions extends Reporting {
  readonly program: BackwardProgram;
  /** Layer inputs as `forwardKeepingInputs` gives them. */
  readonly inputs: LayerInputs;
  /** Inputs of the program besides the layer input and `upstream`. */
  readonly feeds?: (layer: LoadedLayer) => Feeds | Promise<Feeds>;
  /** Called with the outputs of every layer and micro-batch, once `hidden` is the gradient of its input; awaited. */
  readonly onOutputs: (layer: LoadedLayer, batch: number, outputs: Outputs) => unknown;
  /** Called when all micro-batches have passed a layer. */
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
    const layerFeeds = await feeds?.(layer);
    for (const [index, batch] of batches.entries()) {
      const hidden = await inputs.get(layer.index, index);
      const kept = inputs.takeKept(layer.index, index);
      const layerProgram = kept === undefined ? program : (`${program}Kept` as const);
      const input = { hidden, ids: batch.ids, feeds: { ...layerFeeds, ...kept, upstream: batch.hidden } };
      const outputs = await withTextsInErrors(batch.texts, () => runner.runLayer(layerProgram, layer, input));
      batch.hidden = outputs.hidden!;
      await onOutputs(layer, index, outputs);
      tokenLayers += batch.ids.length;
      const detail = `backward, layer ${layer.index + 1}/${layers}`;
      onProgress({ stage, done: tokenLayers / layers, total, unit: "tokens", detail });
    }
    onLayer?.(layer);
  }
}

/** Options of {@link lossGradients}. */
export interface LossGradientOptions
  extends Pick<BackwardOptions, "program" | "feeds" | "onOutputs">,
    Keeping,
    Reporting {}

/**
 * Runs micro-batches forward, and the gradients of each window's mean next-token cross entropy back through all layers,
 * reported as one stage.
 * @returns that cross entropy of every window, nats
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
