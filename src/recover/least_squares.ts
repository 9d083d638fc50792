/**
 * Least squares: o_proj and down_proj of every layer are refitted so that what is left of the layer puts out what the dense
 * one does, without training.
 *
 * With x the inputs of the output projection in the dense model, K those that are kept, R those that are removed, W its
 * dense columns:
 *
 *   minimise over D, e:  E |W_R x_R - D x_K - e|^2 + lambda |D|^2,   then W' = W_K + D,  b' = b + e
 *
 * E weighs every calibration set by its weight, not its size, and every token by the inverse of its size in the stream;
 * lambda = ridge * mean variance of x_K. Directions that the texts hardly determine stay near W_K; the means of removed
 * units end up in b'.
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
import type { Feeds, Runtime } from "../graph/runtime.ts";
import type { Model } from "../model/model.ts";
import { OUTPUT_PROJECTION, projectionName, type Space, type SpaceKind, spacesOf } from "../model/spaces.ts";
import { type LayerSpec, PROJECTION_MODULE, withBiases } from "../model/spec.ts";
import { type OnProgress, silent } from "../progress.ts";
import { type PruningPlan, removedUnits } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../stages.ts";
import { gatherBlocks, type Tensor, zeros } from "../tensor/tensor.ts";
import { Moments, regress } from "./regression.ts";
import { withTensors } from "./with_tensors.ts";

/** A calibration set and how much it counts. */
export interface WeightedTokenSet extends TokenSet {
  /** > 0, relative to the other sets. */
  readonly weight: number;
}

export interface LeastSquaresRequest {
  readonly dense: Model;
  readonly plan: PruningPlan;
  readonly runtime: Runtime;
  readonly sets: readonly WeightedTokenSet[];
  /** Pull towards the unfitted weights, as a fraction of the mean variance of the projection's inputs; > 0. */
  readonly ridge?: number;
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

/**
 * The pruned model with refitted output projections, each with a bias. Holds one layer, the hidden states and one Gram
 * matrix at a time, besides the new weights.
 * @throws GpruneError BAD_PLAN when the plan is not for this model, BAD_ARGUMENT for unusable settings or sets, NOT_FINITE
 *   naming the tensor or layer that is not finite
 */
export async function refitLeastSquares(request: LeastSquaresRequest): Promise<Model> {
  return withRefitted(applyPlan(request.dense, request.plan), await refitProjections(request));
}

/** The pruned model with what `refitProjections` gave. */
export function withRefitted(pruned: Model, { layers, tensors }: Refitted): Model {
  return withTensors(pruned, tensors, { layers });
}

/** What `refitLeastSquares` puts into the model, as plain values. */
export async function refitProjections(request: LeastSquaresRequest): Promise<Refitted> {
  const { dense, checkpoints = NO_CHECKPOINTS } = request;
  const refit = await Refit.open(request);
  const kept = await checkpoints.restore();
  const layers = [...(kept?.layers ?? [])];
  const tensors = new Map(kept?.tensors);
  if (kept !== undefined) refit.resume(layers.length, kept.hidden);
  for (let index = layers.length; index < dense.spec.layers.length; index++) {
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

/** An output projection that loses inputs. */
interface Cut {
  readonly kind: SpaceKind;
  /** Channels, ascending; together all of the projection's inputs. */
  readonly kept: Int32Array;
  readonly removed: Int32Array;
  /** Their columns of the dense weight, [C, k] and [C, m]. */
  readonly keptWeight: Tensor;
  readonly removedWeight: Tensor;
  /** [C] */
  readonly bias: Tensor;
}

class Refit {
  readonly #runner: DecoderRunner;
  readonly #runtime: Runtime;
  readonly #plan: PruningPlan;
  readonly #ridge: number;
  readonly #pruned: readonly LayerSpec[];
  readonly #spaces: readonly Space[];
  readonly #streams: readonly Stream[];
  readonly #onProgress: OnProgress;
  #done = 0;

  private constructor(request: LeastSquaresRequest, runner: DecoderRunner, streams: readonly Stream[]) {
    const { dense, plan, runtime, ridge = 0.1, onProgress = silent } = request;
    if (!(ridge > 0 && Number.isFinite(ridge))) throw badSetting("ridge", "a positive number", ridge);
    this.#runner = runner;
    this.#runtime = runtime;
    this.#plan = plan;
    this.#ridge = ridge;
    this.#pruned = applyPlan(dense, plan).spec.layers;
    this.#spaces = spacesOf(dense.spec);
    this.#streams = streams;
    this.#onProgress = onProgress;
  }

  static async open(request: LeastSquaresRequest): Promise<Refit> {
    const runner = new DecoderRunner(request.dense, request.runtime);
    return new Refit(request, runner, await openStreams(runner, request.sets));
  }

  /** Input of the next layer of every micro-batch. */
  get hidden(): readonly Tensor[] {
    return this.#streams.map(({ hidden }) => hidden);
  }

  /** Puts the stream back to the input of layer `next`. */
  resume(next: number, hidden: readonly Tensor[]): void {
    for (const [index, stream] of this.#streams.entries()) stream.hidden = hidden[index]!;
    const tokens = this.#streams.reduce((sum, stream) => sum + stream.tokens, 0);
    this.#done = (tokens * next) / this.#pruned.length;
  }

  /** Refits layer `index`, adds its new tensors to `tensors` and moves the stream past it. */
  async layer(index: number, tensors: Map<string, Tensor>): Promise<LayerSpec> {
    const layer = await this.#runner.loadLayer(index);
    let spec = this.#pruned[index]!;
    for (const space of this.#spaces.filter((candidate) => candidate.layer === index)) {
      const cut = cutOf(layer, space, removedUnits(this.#plan, space));
      const moments = await this.#pass(layer, space.kind, cut);
      if (cut === undefined || moments === undefined) continue;
      const projection = OUTPUT_PROJECTION[space.kind];
      const { weight, bias } = await this.#solve(cut, moments, projectionName(index, projection));
      tensors.set(projectionName(index, projection), weight);
      tensors.set(projectionName(index, projection, "bias"), bias);
      spec = withBiases(spec, [projection]);
    }
    return spec;
  }

  /** Moves the stream past one block; moments for its output projection where that is cut. */
  async #pass(layer: LoadedLayer, kind: SpaceKind, cut: Cut | undefined): Promise<Moments | undefined> {
    const moments = cut && new Moments(cut.kept.length, this.#runner.model.spec.hiddenSize);
    const program = BLOCKS[kind][cut === undefined ? "plain" : "moments"];
    const feeds: Feeds = cut === undefined ? {} : feedsOf(cut);
    for (const stream of this.#streams) {
      const { hidden, texts } = stream;
      const outputs = await naming(texts, () => this.#runner.runLayer(program, layer, { hidden, feeds }));
      moments?.add(outputs, stream.tokenWeight);
      stream.hidden = outputs.hidden!;
      await this.#report(stream, layer.index);
    }
    return moments;
  }

  /** The kept columns changed by what the moments say, and the bias. */
  async #solve(
    { keptWeight, bias }: Cut,
    moments: Moments,
    name: string,
  ): Promise<{ readonly weight: Tensor; readonly bias: Tensor }> {
    const change = await regress(this.#runtime, moments, { ridge: this.#ridge, name });
    return { weight: sumOf(keptWeight, change.weight), bias: sumOf(bias, change.bias) };
  }

  async #report({ tokens }: Stream, index: number): Promise<void> {
    const layers = this.#pruned.length;
    const total = this.#streams.reduce((sum, stream) => sum + stream.tokens, 0);
    this.#done += tokens / (layers * Object.keys(BLOCKS).length);
    const done = Math.min(this.#done, total);
    const detail = `layer ${index + 1}/${layers}`;
    this.#onProgress({ stage: "recover", done, total, unit: "tokens", detail });
    // The event loop stands still during a run; let timers and signals in between two of them.
    await new Promise(setImmediate);
  }
}

/** What becomes of a space's output projection; undefined when no unit goes. */
function cutOf({ weights }: LoadedLayer, space: Space, removed: readonly number[]): Cut | undefined {
  if (removed.length === 0) return undefined;
  const { kind, units, unitChannels: blockSize } = space;
  const gone = new Set(removed);
  const kept = Array.from({ length: units }, (_, unit) => unit).filter((unit) => !gone.has(unit));
  const projection = OUTPUT_PROJECTION[kind];
  const name = `${PROJECTION_MODULE[projection]}.${projection}`;
  const weight = weights[`${name}.weight`] as Tensor;
  return {
    kind,
    kept: channelsOf(kept, blockSize),
    removed: channelsOf(removed, blockSize),
    keptWeight: gatherBlocks(weight, 1, { keep: kept, blockSize }),
    removedWeight: gatherBlocks(weight, 1, { keep: removed, blockSize }),
    bias: (weights[`${name}.bias`] as Tensor | undefined) ?? zeros([weight.shape[0]!]),
  };
}

function channelsOf(units: readonly number[], unitChannels: number): Int32Array {
  return Int32Array.from({ length: units.length * unitChannels }, (_, i) => {
    return units[Math.floor(i / unitChannels)]! * unitChannels + (i % unitChannels);
  });
}

function feedsOf({ kept, removed, removedWeight }: Cut): Feeds {
  return {
    kept: { shape: [kept.length], data: kept },
    removed: { shape: [removed.length], data: removed },
    removedWeight,
  };
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

function sumOf({ shape, data }: Tensor, change: Float64Array): Tensor {
  return { shape, data: data.map((value, i) => value + change[i]!) };
}

function badSetting(what: string, expected: string, got: number): GpruneError {
  return new GpruneError("BAD_ARGUMENT", `${what}: expected ${expected}, got ${got}`);
}
