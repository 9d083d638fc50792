/**
 * Least squares: o_proj and down_proj of every layer are refitted so that what is left of the layer puts out what the dense
 * one does, without training.
 *
 * With x the inputs of the output projection that are kept, in the dense model, W0 and b0 its gathered columns and its
 * bias, y the dense projection's output:
 *
 *   minimise over W, b:  E ||W x + b - y||^2 + lambda ||W - W0||^2
 *
 * E weighs every calibration set by its weight, not its size, and every token by the inverse of its size in the stream;
 * lambda = ridge * mean variance of x. Directions that the texts hardly determine stay near W0; the means of removed units
 * end up in b.
 *
 * Everything is fitted on the dense model's own stream, so that layers are independent. Fitting each layer on the stream
 * of the layers refitted before it, to repair what those got wrong as well, looks a little better on unseen windows of the
 * calibration texts and is far worse on other kinds of text: the errors of a damaged model belong to the texts it was
 * fitted on; docs/METHODS.md has the numbers. A ridge of 10 % of the variance is what kinds of text that the fit did not see
 * want, too.
 *
 * Based on the output reconstruction of channel pruning (He et al., arXiv 1707.06168), in its symmetric form.
 */
import { type TokenSet, textsOf } from "../calibrate/calibrate.ts";
import { GpruneError } from "../errors.ts";
import { DecoderRunner, type LoadedLayer } from "../graph/decoder_runner.ts";
import { naming } from "../graph/finite.ts";
import { embedGroups } from "../graph/forward.ts";
import type { BlockProgram } from "../graph/programs.ts";
import type { Runtime } from "../graph/runtime.ts";
import type { Model } from "../model/model.ts";
import { OUTPUT_PROJECTION, projectionName, type SpaceKind } from "../model/spaces.ts";
import { type LayerSpec, PROJECTION_MODULE, type Projection, withBiases } from "../model/spec.ts";
import { type OnProgress, silent } from "../progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../stages.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Moments, regress } from "./regression.ts";
import { withTensors } from "./with_tensors.ts";

/** A calibration set and how much it counts. */
export interface WeightedTokenSet extends TokenSet {
  /** > 0, relative to the other sets. */
  readonly weight: number;
}

export interface LeastSquaresRequest {
  readonly dense: Model;
  /** What `applyPlan` made of `dense`. */
  readonly pruned: Model;
  readonly runtime: Runtime;
  readonly sets: readonly WeightedTokenSet[];
  /** Pull towards the unfitted weights, as a fraction of the mean variance of the projection's inputs; > 0. */
  readonly ridge?: number;
  /** Whether tokens count by the inverse of their size in the stream; otherwise all count alike. */
  readonly relative?: boolean;
  /** Whether projections of spaces that lost nothing are refitted too. */
  readonly refitIntact?: boolean;
  readonly onProgress?: OnProgress;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<RefitState>;
}

/** The refitted projections: their tensors by name, and the layers with the biases they gained. */
export interface Refitted {
  readonly layers: readonly LayerSpec[];
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** The layers so far, and the input of the next one of every micro-batch. */
export interface RefitState extends Refitted {
  readonly hidden: readonly Tensor[];
}

/** The layer programs of each half of a layer. */
const BLOCKS: Readonly<Record<SpaceKind, { readonly plain: BlockProgram; readonly moments: BlockProgram }>> =
  {
    kv: { plain: "attention", moments: "attentionMoments" },
    ffn: { plain: "ffn", moments: "ffnMoments" },
  };
const KINDS = ["kv", "ffn"] as const;
/**
 * The pruned model with refitted output projections, each with a bias. Holds one layer of both models, the dense hidden
 * states and one Gram matrix at a time, besides the new weights.
 * @throws GpruneError BAD_ARGUMENT for unusable settings or sets, NOT_FINITE naming the tensor or layer that is not finite
 */
export async function refitLeastSquares(request: LeastSquaresRequest): Promise<Model> {
  return withRefitted(request.pruned, await refitProjections(request));
}

/** The pruned model with what `refitProjections` gave. */
export function withRefitted(pruned: Model, { layers, tensors }: Refitted): Model {
  return withTensors(pruned, tensors, { layers });
}

/** What `refitLeastSquares` puts into the model, as plain values. */
export async function refitProjections(request: LeastSquaresRequest): Promise<Refitted> {
  const { pruned, checkpoints = NO_CHECKPOINTS } = request;
  const refit = await Refit.open(request);
  const kept = await checkpoints.restore();
  const layers = [...(kept?.layers ?? [])];
  const tensors = new Map(kept?.tensors);
  if (kept !== undefined) refit.resume(layers.length, kept.hidden);
  for (let index = layers.length; index < pruned.spec.layers.length; index++) {
    layers.push(await refit.layer(index, tensors));
    await checkpoints.reached(() => ({ layers, tensors, hidden: refit.hidden }));
  }
  return { layers, tensors };
}

/** A micro-batch in the dense model. */
interface Stream {
  /** For messages. */
  readonly texts: string;
  readonly tokens: number;
  /** What one of its tokens counts; over all streams the tokens' weights sum to 1. */
  readonly tokenWeight: number;
  /** Input of the next block, [B, T, C]. */
  hidden: Tensor;
}

/** One layer of both models. */
interface LayerPair {
  readonly dense: LoadedLayer;
  readonly pruned: LoadedLayer;
}

type Settings = Required<Pick<LeastSquaresRequest, "runtime" | "ridge" | "relative" | "refitIntact">>;

class Refit {
  readonly #dense: DecoderRunner;
  readonly #pruned: DecoderRunner;
  readonly #streams: readonly Stream[];
  readonly #settings: Settings;
  readonly #onProgress: OnProgress;
  #done = 0;

  private constructor(
    runners: readonly [DecoderRunner, DecoderRunner],
    streams: readonly Stream[],
    { onProgress, ...settings }: Settings & { readonly onProgress: OnProgress },
  ) {
    [this.#dense, this.#pruned] = runners;
    this.#streams = streams;
    this.#settings = settings;
    this.#onProgress = onProgress;
  }

  static async open({
    dense,
    pruned,
    runtime,
    sets,
    ridge = 0.1,
    relative = true,
    refitIntact = false,
    onProgress = silent,
  }: LeastSquaresRequest): Promise<Refit> {
    if (!(ridge > 0 && Number.isFinite(ridge))) throw badSetting("ridge", "a positive number", ridge);
    const runners = [new DecoderRunner(dense, runtime), new DecoderRunner(pruned, runtime)] as const;
    const streams = await openStreams(runners[0], sets);
    return new Refit(runners, streams, { runtime, ridge, relative, refitIntact, onProgress });
  }

  /** Input of the next layer of every micro-batch. */
  get hidden(): readonly Tensor[] {
    return this.#streams.map(({ hidden }) => hidden);
  }

  /** Puts the stream back to the input of layer `next`. */
  resume(next: number, hidden: readonly Tensor[]): void {
    for (const [index, stream] of this.#streams.entries()) stream.hidden = hidden[index]!;
    const tokens = this.#streams.reduce((sum, stream) => sum + stream.tokens, 0);
    this.#done = (tokens * next) / this.#pruned.model.spec.layers.length;
  }

  /** Refits layer `index`, adds its new tensors to `tensors` and moves the stream past it. */
  async layer(index: number, tensors: Map<string, Tensor>): Promise<LayerSpec> {
    const dense = await this.#dense.loadLayer(index);
    let pruned = await this.#pruned.loadLayer(index);
    for (const kind of KINDS) {
      const moments = await this.#fit({ dense, pruned }, kind);
      if (moments === undefined) continue;
      pruned = await this.#solve(pruned, kind, moments);
      const projection = OUTPUT_PROJECTION[kind];
      for (const part of ["weight", "bias"] as const) {
        tensors.set(projectionName(index, projection, part), weightOf(pruned, projection, part)!);
      }
    }
    return pruned.spec;
  }

  /** Moves the stream past one block; moments of the block's units that are kept, unless it is to stay as it is. */
  async #fit({ dense, pruned }: LayerPair, kind: SpaceKind): Promise<Moments | undefined> {
    const { hiddenSize } = this.#pruned.model.spec;
    const isIntact = unitsOf(pruned, kind) === unitsOf(dense, kind);
    const channels = weightOf(pruned, OUTPUT_PROJECTION[kind])!.shape[1]!;
    const moments = isIntact && !this.#settings.refitIntact ? undefined : new Moments(channels, hiddenSize);
    for (const stream of this.#streams) {
      const { hidden, texts } = stream;
      const wanted = await naming(texts, () => this.#dense.runLayer(BLOCKS[kind].plain, dense, { hidden }));
      if (moments !== undefined) {
        const importance = tokenImportance(wanted.hidden!, this.#settings.relative);
        const input = { hidden, feeds: { target: wanted.projected!, importance } };
        moments.add(await this.#pruned.runLayer(BLOCKS[kind].moments, pruned, input), stream.tokenWeight);
      }
      stream.hidden = wanted.hidden!;
      await this.#report(stream, pruned.index);
    }
    return moments;
  }

  /** The layer with its output projection changed by what the moments say. */
  async #solve(layer: LoadedLayer, kind: SpaceKind, moments: Moments): Promise<LoadedLayer> {
    const { runtime, ridge } = this.#settings;
    const projection = OUTPUT_PROJECTION[kind];
    const name = projectionName(layer.index, projection);
    const change = await regress(runtime, moments, { ridge, name });
    const weight = sumOf(weightOf(layer, projection)!, change.weight);
    const bias = weightOf(layer, projection, "bias") ?? {
      shape: [change.bias.length],
      data: new Float32Array(change.bias.length),
    };
    return {
      index: layer.index,
      spec: withBiases(layer.spec, [projection]),
      weights: {
        ...layer.weights,
        [feedName(projection, "weight")]: weight,
        [feedName(projection, "bias")]: sumOf(bias, change.bias),
      },
    };
  }

  async #report({ tokens }: Stream, index: number): Promise<void> {
    const layers = this.#pruned.model.spec.layers.length;
    const total = this.#streams.reduce((sum, stream) => sum + stream.tokens, 0);
    this.#done += tokens / (layers * KINDS.length);
    const detail = `layer ${index + 1}/${layers}`;
    this.#onProgress({
      stage: "recover",
      done: Math.min(this.#done, total),
      total,
      unit: "tokens",
      detail,
    });
    // The event loop stands still during a run; let timers and signals in between two of them.
    await new Promise(setImmediate);
  }
}

/** Embeds the windows of every set. */
async function openStreams(
  runner: DecoderRunner,
  sets: readonly WeightedTokenSet[],
): Promise<readonly Stream[]> {
  const total = sets.reduce((sum, { weight }) => sum + weight, 0);
  const streams: Stream[] = [];
  const groups = await embedGroups(
    runner,
    sets.map(({ windows }) => windows),
  );
  for (const [index, { name, weight, windows }] of sets.entries()) {
    const tokens = windows.reduce((sum, window) => sum + window.length, 0);
    if (tokens === 0) throw badSetting(`calibration set ${name}`, "at least one token", 0);
    if (!(weight > 0)) throw badSetting(`weight of calibration set ${name}`, "a positive number", weight);
    for (const { ids, hidden } of groups[index]!) {
      const tokenWeight = weight / total / tokens;
      streams.push({ texts: textsOf({ name }), tokens: ids.length, tokenWeight, hidden });
    }
  }
  if (streams.length === 0) throw badSetting("calibration sets", "at least one", 0);
  return streams;
}

/**
 * How much each token counts, shape [B, T, 1]: 1, or the inverse root mean square of the dense stream after the block,
 * scaled to mean 1. Whatever reads the stream normalises it first, so large tokens matter less than their size; and
 * the few with massive activations (arXiv 2402.17762) would otherwise decide the fit alone. The full inverse mean square
 * went too far on held-out calibration text.
 */
function tokenImportance({ shape, data }: Tensor, relative: boolean): Tensor {
  const [batch = 0, tokens = 0, size = 0] = shape;
  const inverse = new Float64Array(batch * tokens).fill(1);
  for (let t = 0; relative && t < inverse.length; t++) {
    let squares = 0;
    for (let i = t * size; i < (t + 1) * size; i++) squares += data[i]! ** 2;
    inverse[t] = Math.sqrt(size / Math.max(squares, Number.MIN_VALUE));
  }
  const mean = inverse.reduce((sum, value) => sum + value, 0) / inverse.length;
  return { shape: [batch, tokens, 1], data: Float32Array.from(inverse, (value) => value / mean) };
}

function sumOf({ shape, data }: Tensor, change: Float64Array): Tensor {
  return { shape, data: data.map((value, i) => value + change[i]!) };
}

function unitsOf({ spec }: LoadedLayer, kind: SpaceKind): number {
  return kind === "kv" ? spec.kvGroups : spec.neurons;
}

function feedName(projection: Projection, part: "weight" | "bias"): string {
  return `${PROJECTION_MODULE[projection]}.${projection}.${part}`;
}

function weightOf(
  { weights }: LoadedLayer,
  projection: Projection,
  part: "weight" | "bias" = "weight",
): Tensor | undefined {
  return weights[feedName(projection, part)] as Tensor | undefined;
}

function badSetting(what: string, expected: string, got: number): GpruneError {
  return new GpruneError("BAD_ARGUMENT", `${what}: expected ${expected}, got ${got}`);
}
