/**
 * Least squares: refits o_proj and down_proj of every layer so that the kept units reproduce the output of all, without
 * training.
 *
 * With x the inputs of the output projection in the dense model, K the kept ones, R the removed ones, W the dense
 * weight:
 *
 *   minimise over D, e:  E |W_R x_R - D x_K - e|^2 + lambda |D|^2,   then W' = W_K + D,  b' = b + e
 *
 * E weighs every calibration set by its weight, not its size, and a micro-batch's tokens by the inverse root mean
 * square of their residual stream; lambda = ridge * mean variance of x_K. Directions that the texts hardly determine
 * stay near W_K; the means of removed units end up in b'. Without a bias, e = 0, and the means are fitted like the rest
 * (regression.ts). The texts enter only by the moments of x (calibrate/moments.ts), whatever K is:
 * cov(W_R x_R, x_K) = W_R cov(x_R, x_K).
 *
 * Experts are fitted one by one: each to its own output, on what the router gives it.
 *
 * Layers are fitted independently, all on the dense model's residual stream. Fitting each layer on the stream of the
 * layers refitted before it, so that it also corrects their errors, is a little better on unseen windows of the
 * calibration texts and far worse on other kinds of text: the errors are specific to the texts that were fitted. A
 * ridge of 10 % of the variance is best for kinds of text that the fit did not see, too; docs/EXPERIMENTS.md has the
 * numbers.
 *
 * Based on the output reconstruction of channel pruning (He et al., arXiv 1707.06168), in its symmetric form.
 */

import { requirePositive } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import type { Moments, SpaceMoments } from "../calibrate/moments.ts";
import { GpruneError } from "../errors.ts";
import { compileProducts } from "../graph/runtime/double_products.ts";
import { collectIfGrown, stashFor } from "../graph/runtime/memory_policy.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { channelCount, channelsOf, OUTPUT_PROJECTION, type Space, spacesOf } from "../model/spaces.ts";
import { hasOneBias, type LayerSpec, takesBias, withBiases } from "../model/spec.ts";
import { projectionName } from "../model/weight_names.ts";
import { keptUnits, type PruningPlan, removedUnits } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { type AnyTensor, StashedTensors } from "../tensor/stash.ts";
import { gatherBlocks, type Tensor, zeros } from "../tensor/tensor.ts";
import { type Alternatives, fitAlternatives } from "./alternatives.ts";
import { changedBy, covariancesOf, type DenseProjection, type InputSplit, regress } from "./regression.ts";
import { joinedColumns, partsOf, type SpacePart } from "./space_parts.ts";
import { withTensors } from "./with_tensors.ts";

/** The dense model, the plan that it is pruned by, and the moments of its activations to fit from. */
export interface LeastSquaresRequest {
  readonly dense: Model;
  readonly plan: PruningPlan;
  readonly runtime: Runtime;
  /** Moments of all spaces that lose units, or have alternatives. */
  readonly moments: Moments;
  /**
   * Pull towards the unfitted weights, as a fraction of the mean variance of the projection's inputs; > 0, and 0.1 when
   * absent.
   */
  readonly ridge?: number;
  /**
   * Whether projections without a bias get one, if they can have one (`takesBias`); true when absent. Biases that are
   * there are refitted in any case.
   */
  readonly addsBiases?: boolean | undefined;
  /**
   * Fits alternative widths of these spaces as well. Their projections have columns for all of the plan's units, but
   * are fitted on those of the first list; the changes to the other lists are added as tensors (alternatives.ts). The
   * plan may keep units that are in no list.
   */
  readonly alternatives?: Alternatives | undefined;
  readonly onProgress?: OnProgress;
  /** Name of the stage in progress events; `recover` when absent. */
  readonly stage?: string | undefined;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<Refitted>;
  /** Layer before which the fit ends; all layers are fitted when absent. */
  readonly end?: number;
}

/** The tensors of the refitted projections by name, and the layers so far with the biases that they gained. */
export interface Refitted {
  readonly layers: readonly LayerSpec[];
  readonly tensors: ReadonlyMap<string, AnyTensor>;
}

/**
 * The pruned model with refitted output projections. Holds one projection and one covariance matrix at a time, and the
 * new weights unless the memory policy stores them in files. It reads the files of `dense`: closing the weights of
 * either closes both.
 * @throws GpruneError BAD_PLAN when the plan is not for this model, BAD_ARGUMENT for an unusable ridge or moments of
 *   other spaces, NOT_FINITE naming the tensor that is not finite
 */
export async function refitLeastSquares(request: LeastSquaresRequest): Promise<Model> {
  const { layers, tensors } = await refitProjections(request);
  return withTensors(applyPlan(request.dense, request.plan), tensors, layers);
}

/** The tensors that `refitLeastSquares` puts into the model. @throws GpruneError as `refitLeastSquares` */
export async function refitProjections(request: LeastSquaresRequest): Promise<Refitted> {
  const {
    dense,
    plan,
    runtime,
    ridge = 0.1,
    addsBiases = true,
    alternatives = {},
    stage = "recover",
  } = request;
  const { onProgress = silent, checkpoints = NO_CHECKPOINTS, end = dense.spec.layers.length } = request;
  requirePositive("ridge", ridge);
  const pruned = applyPlan(dense, plan).spec.layers;
  const restored = await checkpoints.restore();
  const layers = [...(restored?.layers ?? [])];
  const fitted = new StashedTensors(() => stashFor(runtime.memory, "refitted weights"));
  for (const [name, tensor] of restored?.tensors ?? []) await fitted.set(name, tensor);
  for (let index = layers.length; index < end; index++) {
    let spec = pruned[index]!;
    for (const space of spacesOf(dense.spec).filter(({ layer }) => layer === index)) {
      const lists = alternatives[space.id];
      if (lists === undefined && removedUnits(plan, space).length === 0) continue;
      for (const [name, tensor] of await fitSpace({ ...request, ridge, addsBiases }, space, lists))
        await fitted.set(name, tensor);
      if (addsBiases) spec = withBiases(spec, [OUTPUT_PROJECTION[space.kind]]);
      collectIfGrown(runtime.memory);
    }
    layers.push(spec);
    const detail = `layer ${layers.length}/${pruned.length}`;
    onProgress({ stage, done: layers.length, total: pruned.length, unit: "layers", detail });
    await checkpoints.reached(() => ({ layers, tensors: fitted.tensors }));
  }
  return { layers, tensors: fitted.tensors };
}

/** A request with its defaults. */
interface FitRequest extends LeastSquaresRequest {
  readonly ridge: number;
  readonly addsBiases: boolean;
}

/** The refitted projection and bias of a space, by tensor name; with alternatives, those of `fitAlternatives`. */
async function fitSpace(
  { dense, plan, runtime, moments, ridge, addsBiases }: FitRequest,
  space: Space,
  alternatives: Alternatives[string] | undefined,
): Promise<ReadonlyMap<string, Tensor>> {
  const projection = await denseProjection(dense, space, addsBiases);
  const spaceMoments = requireMoments(moments, space);
  const keep = keptUnits(plan.keep, space);
  if (alternatives !== undefined) {
    return fitAlternatives(runtime, spaceMoments, { space, projection, alternatives, onto: keep, ridge });
  }
  const name = projectionName(space.layer, OUTPUT_PROJECTION[space.kind]);
  const products = await compileProducts(runtime);
  let { bias } = projection;
  const weights: Tensor[] = [];
  for await (const part of partsOf(space, projection, spaceMoments)) {
    const split = inputSplit(part, keep);
    const covariances = await covariancesOf(products, part.moments, split);
    const change = await regress(runtime, covariances, { ridge, name });
    weights.push(changedBy(keptColumns(split), change.weight));
    bias &&= changedBy(bias, change.bias);
  }
  const fitted = new Map([[name, joinedColumns(weights)]]);
  const biasName = projectionName(space.layer, OUTPUT_PROJECTION[space.kind], "bias");
  return bias === null ? fitted : fitted.set(biasName, bias);
}

/** The inputs of a part's output projection. @param keep - kept units of the whole space */
function inputSplit({ space, projection, unitsOf }: SpacePart, keep: readonly number[]): InputSplit {
  const kept = new Set(unitsOf(keep));
  const channels = (isKept: boolean): Int32Array => {
    const all = Array.from({ length: space.units }, (_, unit) => unit);
    return channelsOf(
      all.filter((unit) => kept.has(unit) === isKept),
      space.unitChannels,
    );
  };
  return { projection, kept: channels(true), removed: channels(false) };
}

function keptColumns({ projection: { weight }, kept }: InputSplit): Tensor {
  return gatherBlocks(weight, 1, { keep: Array.from(kept), blockSize: 1 });
}

/** @throws GpruneError BAD_ARGUMENT if the space has no moments, or those of another number of channels */
function requireMoments(moments: Moments, space: Space): SpaceMoments {
  const spaceMoments = moments.get(space.id);
  const [expected, found] = [channelCount(space), spaceMoments?.mean.length ?? 0];
  if (spaceMoments !== undefined && found === expected) return spaceMoments;
  const message = `moments of ${space.id}: expected ${expected} channels, got ${found}`;
  throw new GpruneError("BAD_ARGUMENT", message, {
    hint: "Gather them on the model that is refitted, with every set that is fitted (gatherEvidence).",
  });
}

/**
 * A space's output projection in the dense model; if it has no bias and can have one, it gets zeros where biases are
 * added.
 */
async function denseProjection(
  { spec, weights }: Model,
  { layer, kind }: Space,
  addsBiases: boolean,
): Promise<DenseProjection> {
  const projection = OUTPUT_PROJECTION[kind];
  const weight = await weights.read(projectionName(layer, projection));
  if (hasOneBias(spec.layers[layer]!, projection))
    return { weight, bias: await weights.read(projectionName(layer, projection, "bias")) };
  const gains = addsBiases && takesBias(spec.layers[layer]!, projection);
  return { weight, bias: gains ? zeros([weight.shape[0]!]) : null };
}
