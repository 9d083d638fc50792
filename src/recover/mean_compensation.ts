/**
 * Mean compensation: the mean output of the removed units is added to the bias of the output projection.
 *
 * b' = b + W[:, removed] @ mean[removed],   mean_j = sum over tokens of x_j / tokens
 *
 * W is down_proj [C, F] or o_proj [C, N*H] of the dense model, x its input, removed the channels of the removed
 * units. So the block's output keeps its mean over the calibration data. Source: FLAP (arXiv 2312.11983) lib/prune.py
 * `compress` @3bb57db, which stores the means in half precision; here they are float64 and the bias is rounded once, to
 * float32. Experts compute for some tokens only, and no class has biases for them: theirs are not compensated.
 */
import { type CalibrationStats, channelMeans } from "../calibrate/stats.ts";
import { GpruneError } from "../errors.ts";
import type { Model } from "../model/model.ts";
import { OUTPUT_PROJECTION, type Space, spacesOf } from "../model/spaces.ts";
import { type LayerSpec, takesBias, withBiases } from "../model/spec.ts";
import { projectionName } from "../model/weight_names.ts";
import { type PruningPlan, removedUnits } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { withTensors } from "./with_tensors.ts";

/**
 * The pruned model with compensated biases. Reads one output projection at a time and keeps one bias [C] of each. It
 * reads the files of `model`: closing the weights of either closes both.
 * @param model - the dense model, on which the statistics were taken
 * @param stats - one set, or several pooled
 * @throws GpruneError BAD_PLAN if the plan is not for this model, NOT_FINITE naming a bias that is not finite
 */
export async function compensateMeans(
  model: Model,
  plan: PruningPlan,
  stats: CalibrationStats,
): Promise<Model> {
  const { tensors, layers } = await compensatedBiases(model, plan, stats);
  return withTensors(applyPlan(model, plan), tensors, layers);
}

/** The biases that `compensateMeans` puts into the model, and its layers. @throws GpruneError as `compensateMeans` */
export async function compensatedBiases(
  model: Model,
  plan: PruningPlan,
  stats: CalibrationStats,
): Promise<{ readonly tensors: ReadonlyMap<string, Tensor>; readonly layers: readonly LayerSpec[] }> {
  const biases = new Map<string, Tensor>();
  const layers = [...applyPlan(model, plan).spec.layers];
  for (const space of spacesOf(model.spec)) {
    const removed = removedUnits(plan, space);
    const projection = OUTPUT_PROJECTION[space.kind];
    if (removed.length === 0 || !takesBias(layers[space.layer]!, projection)) continue;
    const name = projectionName(space.layer, projection, "bias");
    biases.set(name, await compensatedBias(model, { space, removed, means: channelMeans(stats, space) }));
    layers[space.layer] = withBiases(layers[space.layer]!, [projection]);
  }
  return { tensors: biases, layers };
}

interface Removal {
  readonly space: Space;
  /** Unit indices. */
  readonly removed: readonly number[];
  /** Mean input of every channel of the space, [channels]. */
  readonly means: Float64Array;
}

/** b + W[:, removed] @ mean[removed], [C]. */
async function compensatedBias(model: Model, { space, removed, means }: Removal): Promise<Tensor> {
  const projection = OUTPUT_PROJECTION[space.kind];
  const { shape, data } = await model.weights.read(projectionName(space.layer, projection));
  const [rows = 0, columns = 0] = shape;
  const name = projectionName(space.layer, projection, "bias");
  const hasBias = model.spec.layers[space.layer]!.biases.includes(projection);
  const bias = hasBias ? Float64Array.from((await model.weights.read(name)).data) : new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    for (const unit of removed) {
      const end = (unit + 1) * space.unitChannels;
      for (let j = unit * space.unitChannels; j < end; j++) bias[i]! += data[i * columns + j]! * means[j]!;
    }
  }
  const rounded = Float32Array.from(bias);
  const bad = rounded.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new GpruneError("NOT_FINITE", `${name}: expected finite numbers, got ${rounded[bad]} at ${bad}`);
  return { shape: [rows], data: rounded };
}
