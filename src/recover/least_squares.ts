/**
 * Least squares: o_proj and down_proj of every layer are refitted so that what is left of the layer puts out what the
 * dense one does, without training.
 *
 * With x the inputs of the output projection in the dense model, K those that are kept, R those that are removed, W its
 * dense columns:
 *
 *   minimise over D, e:  E |W_R x_R - D x_K - e|^2 + lambda |D|^2,   then W' = W_K + D,  b' = b + e
 *
 * E weighs every calibration set by its weight, not its size, and the tokens of a micro-batch by the inverse of their
 * size in the stream; lambda = ridge * mean variance of x_K. Directions that the texts hardly determine stay near W_K;
 * the means of removed units end up in b'. All that is needed of the texts are the moments of x (calibrate/moments.ts),
 * whatever K is: cov(W_R x_R, x_K) = W_R cov(x_R, x_K).
 *
 * Everything is fitted on the dense model's own stream, so that layers are independent. Fitting each layer on the
 * stream of the layers refitted before it, to repair what those got wrong as well, looks a little better on unseen
 * windows of the calibration texts and is far worse on other kinds of text: the errors of a damaged model belong to the
 * texts it was fitted on; docs/EXPERIMENTS.md has the numbers. A ridge of 10 % of the variance is what kinds of text
 * that the fit did not see want, too.
 *
 * Based on the output reconstruction of channel pruning (He et al., arXiv 1707.06168), in its symmetric form.
 */

import { requirePositive } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import type { Moments, SpaceMoments } from "../calibrate/moments.ts";
import { GpruneError } from "../errors.ts";
import { compileProducts } from "../graph/runtime/double_products.ts";
import { collectIfTight, stashFor } from "../graph/runtime/memory_policy.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import {
  channelCount,
  channelsOf,
  OUTPUT_PROJECTION,
  projectionName,
  type Space,
  spacesOf,
} from "../model/spaces.ts";
import { type LayerSpec, withBiases } from "../model/spec.ts";
import { keptUnits, type PruningPlan, removedUnits } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { type AnyTensor, StashedTensors } from "../tensor/stash.ts";
import { gatherBlocks, type Tensor, zeros } from "../tensor/tensor.ts";
import { type Alternatives, fitAlternatives } from "./alternatives.ts";
import { covariancesOf, type DenseProjection, regress } from "./regression.ts";
import { withTensors } from "./with_tensors.ts";

/** The dense model, the plan that it is pruned by, and the moments of its activations that the fit rests on. */
export interface LeastSquaresRequest {
  readonly dense: Model;
  readonly plan: PruningPlan;
  readonly runtime: Runtime;
  /** Moments of all spaces that lose units, or have alternatives. */
  readonly moments: Moments;
  /** Pull towards the unfitted weights, as a fraction of the mean variance of the projection's inputs; > 0. */
  readonly ridge?: number;
  /**
   * Fits other widths as well: the projections of these spaces have the plan's units and are fitted as if the first
   * list were all, and beside them are the changes to the other lists (alternatives.ts). The plan may keep units that
   * are in no list.
   */
  readonly alternatives?: Alternatives | undefined;
  readonly onProgress?: OnProgress;
  /** The stage for progress; `recover` when absent. */
  readonly stage?: string | undefined;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<Refitted>;
  /** The layer before which it ends; all layers when absent. */
  readonly end?: number;
}

/** The refitted projections: their tensors by name, and the layers so far with the biases they gained. */
export interface Refitted {
  readonly layers: readonly LayerSpec[];
  readonly tensors: ReadonlyMap<string, AnyTensor>;
}

/**
 * The pruned model with refitted output projections, each with a bias. Holds one projection and one matrix of
 * covariances at a time, and the new weights unless the memory policy puts them elsewhere. It reads the files of
 * `dense`: closing the weights of either closes both.
 * @throws GpruneError BAD_PLAN when the plan is not for this model, BAD_ARGUMENT for an unusable ridge or moments of
 *   other spaces, NOT_FINITE naming the tensor that is not finite
 */
export async function refitLeastSquares(request: LeastSquaresRequest): Promise<Model> {
  const { layers, tensors } = await refitProjections(request);
  return withTensors(applyPlan(request.dense, request.plan), tensors, { layers });
}

/** What `refitLeastSquares` puts into the model, as plain values. */
export async function refitProjections(request: LeastSquaresRequest): Promise<Refitted> {
  const { dense, plan, runtime, ridge = 0.1, alternatives = {}, stage = "recover" } = request;
  const { onProgress = silent, checkpoints = NO_CHECKPOINTS, end = dense.spec.layers.length } = request;
  requirePositive("ridge", ridge);
  const pruned = applyPlan(dense, plan).spec.layers;
  const kept = await checkpoints.restore();
  const layers = [...(kept?.layers ?? [])];
  const fitted = new StashedTensors(() => stashFor(runtime.memory, "refitted weights"));
  for (const [name, tensor] of kept?.tensors ?? []) await fitted.set(name, tensor);
  for (let index = layers.length; index < end; index++) {
    let spec = pruned[index]!;
    for (const space of spacesOf(dense.spec).filter(({ layer }) => layer === index)) {
      const lists = alternatives[space.id];
      if (lists === undefined && removedUnits(plan, space).length === 0) continue;
      for (const [name, tensor] of await fitSpace({ ...request, ridge }, space, lists))
        await fitted.set(name, tensor);
      spec = withBiases(spec, [OUTPUT_PROJECTION[space.kind]]);
      collectIfTight(runtime.memory);
    }
    layers.push(spec);
    const detail = `layer ${layers.length}/${pruned.length}`;
    onProgress({ stage, done: layers.length, total: pruned.length, unit: "layers", detail });
    await checkpoints.reached(() => ({ layers, tensors: fitted.tensors }));
  }
  return { layers, tensors: fitted.tensors };
}

/** The kept columns changed by what the moments say, and the bias; or those of several widths. */
async function fitSpace(
  { dense, plan, runtime, moments, ridge }: LeastSquaresRequest & { readonly ridge: number },
  space: Space,
  alternatives: Alternatives[string] | undefined,
): Promise<ReadonlyMap<string, Tensor>> {
  const projection = await denseProjection(dense, space);
  const own = requireMoments(moments, space);
  const keep = keptUnits(plan.keep, space);
  if (alternatives !== undefined) {
    return fitAlternatives(runtime, own, { space, projection, alternatives, onto: keep, ridge });
  }
  const { unitChannels: blockSize } = space;
  const name = projectionName(space.layer, OUTPUT_PROJECTION[space.kind]);
  const covariances = await covariancesOf(await compileProducts(runtime), own, {
    projection,
    kept: channelsOf(keep, blockSize),
    removed: channelsOf(removedUnits(plan, space), blockSize),
  });
  const change = await regress(runtime, covariances, { ridge, name });
  return new Map([
    [name, sumOf(gatherBlocks(projection.weight, 1, { keep, blockSize }), change.weight)],
    [projectionName(space.layer, OUTPUT_PROJECTION[space.kind], "bias"), sumOf(projection.bias, change.bias)],
  ]);
}

/** @throws GpruneError BAD_ARGUMENT when there are none of the space, or of another number of channels */
function requireMoments(moments: Moments, space: Space): SpaceMoments {
  const own = moments.get(space.id);
  const [expected, found] = [channelCount(space), own?.mean.length ?? 0];
  if (own !== undefined && found === expected) return own;
  const message = `moments of ${space.id}: expected those of ${expected} channels, got ${found}`;
  throw new GpruneError("BAD_ARGUMENT", message, {
    hint: "Gather them on the model that is refitted, with every set that is to count (gatherEvidence, fitted).",
  });
}

/** A space's output projection in the dense model; a bias of zeros where it has none. */
async function denseProjection({ spec, weights }: Model, { layer, kind }: Space): Promise<DenseProjection> {
  const projection = OUTPUT_PROJECTION[kind];
  const weight = await weights.read(projectionName(layer, projection));
  const hasBias = spec.layers[layer]!.biases.includes(projection);
  const bias = hasBias
    ? await weights.read(projectionName(layer, projection, "bias"))
    : zeros([weight.shape[0]!]);
  return { weight, bias };
}

function sumOf({ shape, data }: Tensor, change: Float64Array): Tensor {
  return { shape, data: data.map((value, i) => value + change[i]!) };
}
