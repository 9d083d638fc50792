/**
 * Least squares: o_proj and down_proj of every layer are refitted so that what is left of the layer puts out what the dense
 * one does, without training.
 *
 * With x the inputs of the output projection in the dense model, K those that are kept, R those that are removed, W its
 * dense columns:
 *
 *   minimise over D, e:  E |W_R x_R - D x_K - e|^2 + lambda |D|^2,   then W' = W_K + D,  b' = b + e
 *
 * E weighs every calibration set by its weight, not its size, and the tokens of a micro-batch by the inverse of their size in
 * the stream; lambda = ridge * mean variance of x_K. Directions that the texts hardly determine stay near W_K; the means of removed
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
import { beginForward, forwardState, microBatches, type Stream, type TokenBatch } from "../graph/forward.ts";
import { hiddenStash, tidy } from "../graph/memory_policy.ts";
import type { BlockProgram } from "../graph/programs.ts";
import type { Feeds, Runtime } from "../graph/runtime.ts";
import type { Model } from "../model/model.ts";
import {
  channelsOf,
  OUTPUT_PROJECTION,
  projectionName,
  type Space,
  type SpaceKind,
  spacesOf,
} from "../model/spaces.ts";
import { type LayerSpec, PROJECTION_MODULE, withBiases } from "../model/spec.ts";
import { type OnProgress, silent } from "../progress.ts";
import { keptUnits, type PruningPlan, removedUnits } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../stages.ts";
import { type AnyTensor, loaded, type Stash } from "../tensor/stash.ts";
import { gatherBlocks, type Tensor, zeros } from "../tensor/tensor.ts";
import { type Alternatives, fitAlternatives } from "./alternatives.ts";
import { centred, Moments, regress } from "./regression.ts";
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
  /**
   * Fits other widths as well: the projections of these spaces have the plan's units and are fitted as if the first list were
   * all, and beside them are the changes to the other lists (alternatives.ts). The plan may keep units that are in no list.
   */
  readonly alternatives?: Alternatives | undefined;
  readonly onProgress?: OnProgress;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<RefitState>;
  /** The layer before which it ends; all layers when absent. */
  readonly end?: number;
}

/** The refitted projections: their tensors by name, and the layers with the biases they gained. */
export interface Refitted {
  readonly layers: readonly LayerSpec[];
  readonly tensors: ReadonlyMap<string, AnyTensor>;
}

/** The layers so far, and the input of the next one of every micro-batch. */
export interface RefitState extends Refitted {
  readonly hidden: readonly AnyTensor[];
}

/** The layer programs of each half of a layer. */
const BLOCKS: Readonly<Record<SpaceKind, { readonly plain: BlockProgram; readonly moments: BlockProgram }>> =
  {
    kv: { plain: "attention", moments: "attentionMoments" },
    ffn: { plain: "ffn", moments: "ffnMoments" },
  };

const BLOCKS_OF_LAYER = Object.keys(BLOCKS).length;

/**
 * The pruned model with refitted output projections, each with a bias. Holds one layer and one Gram matrix at a time,
 * perhaps the next layer, and the hidden states and the new weights unless the memory policy puts them elsewhere.
 * @throws GpruneError BAD_PLAN when the plan is not for this model, BAD_ARGUMENT for unusable settings or sets, NOT_FINITE
 *   naming the tensor or layer that is not finite
 */
export async function refitLeastSquares(request: LeastSquaresRequest): Promise<Model> {
  const { layers, tensors } = await refitProjections(request);
  return withTensors(applyPlan(request.dense, request.plan), tensors, { layers });
}

/** What `refitLeastSquares` puts into the model, as plain values. */
export async function refitProjections(request: LeastSquaresRequest): Promise<Refitted> {
  const { checkpoints = NO_CHECKPOINTS } = request;
  const refit = await Refit.open(request);
  const kept = await checkpoints.restore();
  const layers = [...(kept?.layers ?? [])];
  const fitted = new FittedTensors(await hiddenStash(request.runtime.memory, "refitted weights"));
  for (const [name, tensor] of kept?.tensors ?? []) await fitted.set(name, await loaded(tensor));
  await refit.begin(kept);
  for await (const layer of refit.loadLayers(layers.length, request.end)) {
    layers.push(await refit.layer(layer, fitted));
    await checkpoints.reached(() => ({ layers, tensors: fitted.tensors, hidden: refit.hidden }));
  }
  await refit.close();
  return { layers, tensors: fitted.tensors };
}

/** The new tensors by name, in a stash. */
class FittedTensors {
  readonly tensors: Map<string, AnyTensor> = new Map();
  readonly #stash: Stash;

  constructor(stash: Stash) {
    this.#stash = stash;
  }

  async set(name: string, tensor: Tensor): Promise<void> {
    const slot = this.tensors.size;
    await this.#stash.put(slot, tensor);
    this.tensors.set(name, this.#stash.entry(slot));
  }
}

/** A micro-batch in the dense model. */
interface WeightedBatch extends TokenBatch {
  /** What one of its tokens counts; over all batches the tokens' weights sum to 1. */
  readonly tokenWeight: number;
}

/** All of them, and the inputs of the next block, [B, T, C] each. */
interface WeightedStream extends Stream {
  readonly batches: readonly WeightedBatch[];
}

/** An output projection that loses inputs. */
interface Cut {
  readonly space: Space;
  /** Units that stay. */
  readonly units: readonly number[];
  /** Channels, ascending; together all of the projection's inputs, but that `removed` has one where none goes. */
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
  readonly #alternatives: Alternatives;
  readonly #pruned: readonly LayerSpec[];
  readonly #spaces: readonly Space[];
  readonly #stream: WeightedStream;
  readonly #onProgress: OnProgress;
  /** Tokens that went through a block, once for each. */
  #passed = 0;

  private constructor(request: LeastSquaresRequest, runner: DecoderRunner, stream: WeightedStream) {
    const { dense, plan, runtime, ridge = 0.1, alternatives = {}, onProgress = silent } = request;
    if (!(ridge > 0 && Number.isFinite(ridge))) throw badSetting("ridge", "a positive number", ridge);
    this.#runner = runner;
    this.#runtime = runtime;
    this.#plan = plan;
    this.#ridge = ridge;
    this.#alternatives = alternatives;
    this.#pruned = applyPlan(dense, plan).spec.layers;
    this.#spaces = spacesOf(dense.spec);
    this.#stream = stream;
    this.#onProgress = onProgress;
  }

  static async open(request: LeastSquaresRequest): Promise<Refit> {
    const runner = new DecoderRunner(request.dense, request.runtime);
    const batches = weightedBatches(request.sets);
    return new Refit(request, runner, { batches, states: await hiddenStash(runner.memory, "refit") });
  }

  /** Input of the next layer of every micro-batch. */
  get hidden(): readonly AnyTensor[] {
    return forwardState(0, this.#stream).hidden;
  }

  /** Puts the stream to the input of the first layer that has not been refitted. */
  async begin(kept: RefitState | undefined): Promise<void> {
    const state = kept && { next: kept.layers.length, hidden: kept.hidden };
    const next = await beginForward(this.#runner, this.#stream, state);
    this.#passed = this.#tokens * next * BLOCKS_OF_LAYER;
  }

  /** The layers that are left. */
  loadLayers(next: number, end: number = this.#pruned.length): AsyncGenerator<LoadedLayer> {
    return this.#runner.loadLayers(next, end);
  }

  close(): Promise<void> {
    return this.#stream.states.close();
  }

  /** Refits a layer, adds its new tensors to `fitted` and moves the stream past it. */
  async layer(layer: LoadedLayer, fitted: FittedTensors): Promise<LayerSpec> {
    const { index } = layer;
    let spec = this.#pruned[index]!;
    for (const space of this.#spaces.filter((candidate) => candidate.layer === index)) {
      const alternatives = this.#alternatives[space.id];
      const removed = alternatives ? unitsInNone(alternatives, space) : removedUnits(this.#plan, space);
      const cut = alternatives || removed.length > 0 ? cutOf(layer, space, removed) : undefined;
      const moments = await this.#pass(layer, space.kind, cut);
      if (cut === undefined || moments === undefined) continue;
      for (const [name, tensor] of await this.#solve(cut, moments, alternatives))
        await fitted.set(name, tensor);
      spec = withBiases(spec, [OUTPUT_PROJECTION[space.kind]]);
    }
    return spec;
  }

  /** Moves the stream past one block; moments for its output projection where that is cut. */
  async #pass(layer: LoadedLayer, kind: SpaceKind, cut: Cut | undefined): Promise<Moments | undefined> {
    const moments = cut && new Moments(cut.kept.length, this.#runner.model.spec.hiddenSize);
    const program = BLOCKS[kind][cut === undefined ? "plain" : "moments"];
    const feeds: Feeds = cut === undefined ? {} : feedsOf(cut);
    const { batches, states } = this.#stream;
    for (const [place, { ids, texts, tokenWeight }] of batches.entries()) {
      const hidden = await states.get(place, (place + 1) % batches.length);
      const outputs = await naming(texts, () => this.#runner.runLayer(program, layer, { hidden, feeds }));
      moments?.add(outputs, tokenWeight);
      await states.put(place, outputs.hidden!);
      if (moments !== undefined) tidy(this.#runner.memory);
      await this.#report(ids.length, layer.index);
    }
    return moments;
  }

  /** The kept columns changed by what the moments say, and the bias; or those of several widths. */
  async #solve(
    { space, units, keptWeight, bias }: Cut,
    moments: Moments,
    alternatives: Alternatives[string] | undefined,
  ): Promise<ReadonlyMap<string, Tensor>> {
    const ridge = this.#ridge;
    if (alternatives !== undefined) {
      const wide = { space, units, weight: keptWeight, bias };
      const onto = keptUnits(this.#plan.keep, space);
      return fitAlternatives(this.#runtime, moments, { wide, alternatives, onto, ridge });
    }
    const projection = OUTPUT_PROJECTION[space.kind];
    const name = projectionName(space.layer, projection);
    const change = await regress(this.#runtime, centred(moments), { ridge, name });
    return new Map([
      [name, sumOf(keptWeight, change.weight)],
      [projectionName(space.layer, projection, "bias"), sumOf(bias, change.bias)],
    ]);
  }

  get #tokens(): number {
    return this.#stream.batches.reduce((sum, { ids }) => sum + ids.length, 0);
  }

  async #report(tokens: number, index: number): Promise<void> {
    const layers = this.#pruned.length;
    const total = this.#tokens;
    this.#passed += tokens;
    const done = this.#passed / (layers * BLOCKS_OF_LAYER);
    const detail = `layer ${index + 1}/${layers}`;
    this.#onProgress({ stage: "recover", done, total, unit: "tokens", detail });
    // The event loop stands still during a run; let timers and signals in between two of them.
    await new Promise(setImmediate);
  }
}

/** The units of a space that no list has, ascending. */
function unitsInNone(lists: Alternatives[string], { units }: Space): readonly number[] {
  const listed = new Set(lists.flat());
  return Array.from({ length: units }, (_, unit) => unit).filter((unit) => !listed.has(unit));
}

/** What becomes of a space's output projection. */
function cutOf({ weights }: LoadedLayer, space: Space, removed: readonly number[]): Cut {
  const { kind, units, unitChannels: blockSize } = space;
  const gone = new Set(removed);
  const kept = Array.from({ length: units }, (_, unit) => unit).filter((unit) => !gone.has(unit));
  const projection = OUTPUT_PROJECTION[kind];
  const name = `${PROJECTION_MODULE[projection]}.${projection}`;
  const weight = weights[`${name}.weight`] as Tensor;
  const [size = 0] = weight.shape;
  return {
    space,
    units: kept,
    kept: channelsOf(kept, blockSize),
    keptWeight: gatherBlocks(weight, 1, { keep: kept, blockSize }),
    bias: (weights[`${name}.bias`] as Tensor | undefined) ?? zeros([size]),
    // Programs want something: a channel that nothing is lost with.
    ...(removed.length === 0
      ? { removed: Int32Array.of(0), removedWeight: zeros([size, 1]) }
      : {
          removed: channelsOf(removed, blockSize),
          removedWeight: gatherBlocks(weight, 1, { keep: removed, blockSize }),
        }),
  };
}

function feedsOf({ kept, removed, removedWeight }: Cut): Feeds {
  return {
    kept: { shape: [kept.length], data: kept },
    removed: { shape: [removed.length], data: removed },
    removedWeight,
  };
}

/** The windows of every set in micro-batches. */
function weightedBatches(sets: readonly WeightedTokenSet[]): readonly WeightedBatch[] {
  const total = sets.reduce((sum, { weight }) => sum + weight, 0);
  const batches: WeightedBatch[] = [];
  for (const { name, weight, windows } of sets) {
    const tokens = windows.reduce((sum, window) => sum + window.length, 0);
    if (tokens === 0) throw badSetting(`calibration set ${name}`, "at least one token", 0);
    if (!(weight > 0)) throw badSetting(`weight of calibration set ${name}`, "a positive number", weight);
    const tokenWeight = weight / total / tokens;
    for (const batch of microBatches(windows, textsOf({ name }))) batches.push({ ...batch, tokenWeight });
  }
  if (batches.length === 0) throw badSetting("calibration sets", "at least one", 0);
  return batches;
}

function sumOf({ shape, data }: Tensor, change: Float64Array): Tensor {
  return { shape, data: data.map((value, i) => value + change[i]!) };
}

function badSetting(what: string, expected: string, got: number): GpruneError {
  return new GpruneError("BAD_ARGUMENT", `${what}: expected ${expected}, got ${got}`);
}
