/**
 * Scores a whole model with one metric, reading layer by layer only those weights that the metric looks at.
 *
 * Statistics of one set give that set's importance, pooled statistics (calibrate/stats.ts `poolStats`) the pooled one:
 * the choice is the caller's.
 */
import type { GateStats } from "../calibrate/gate_stats.ts";
import type { CalibrationStats } from "../calibrate/stats.ts";
import { GpruneError, internalError } from "../errors.ts";
import type { Model } from "../model/model.ts";
import {
  INPUT_PROJECTIONS,
  OUTPUT_PROJECTION,
  projectionName,
  type Space,
  spacesOf,
} from "../model/spaces.ts";
import type { Projection } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { channelCount, sumOverUnits } from "./channels.ts";
import type { Metric, ScoringView, SetChannelStats, SetGateStats } from "./metric.ts";

/** Channel scores by space id, each of shape [channels]. */
export type Importance = ReadonlyMap<string, Float64Array>;

/** What to score, with what. */
export interface ScoreRequest {
  readonly model: Model;
  readonly metric: Metric;
  /** Required by metrics with input `activations`. */
  readonly stats?: CalibrationStats;
  /** Required by metrics with input `gradients`. */
  readonly gates?: GateStats;
  readonly seed: number;
  /** Called after each layer with the number of layers done. */
  readonly onLayer?: (done: number, layers: number) => void;
}

/**
 * Importance of every channel of every prunable space.
 * @throws GpruneError BAD_ARGUMENT when the metric needs statistics that are missing or of another model,
 *   NOT_FINITE naming the tensor or space with a NaN or an infinity
 */
export async function scoreModel(request: ScoreRequest): Promise<Importance> {
  const { model, metric, stats, gates, onLayer } = request;
  if (metric.input === "activations" && stats === undefined) {
    throw new GpruneError("BAD_ARGUMENT", `metric ${metric.name}: expected activation statistics, got none`, {
      hint: "Give a calibration set, or choose a metric that needs only weights, such as magnitude.",
    });
  }
  if (metric.input === "gradients" && gates === undefined) {
    throw new GpruneError("BAD_ARGUMENT", `metric ${metric.name}: expected gate gradients, got none`);
  }
  const spaces = spacesOf(model.spec);
  const layers = model.spec.layers.length;
  const importance = new Map<string, Float64Array>();
  for (const [index, space] of spaces.entries()) {
    importance.set(space.id, await scoreSpace(request, space));
    if (spaces[index + 1]?.layer !== space.layer) onLayer?.(space.layer + 1, layers);
  }
  return importance;
}

/** Score of every unit of a space: the sum over its channels, [units]. */
export function unitScores(scores: Float64Array, space: Space): Float64Array {
  return sumOverUnits(scores, space);
}

async function scoreSpace(
  { model, metric, stats, gates, seed }: ScoreRequest,
  space: Space,
): Promise<Float64Array> {
  const read = async (projection: Projection): Promise<Tensor> => {
    const name = projectionName(space.layer, projection);
    const tensor = await model.weights.read(name);
    checkFinite(tensor.data, `tensor ${name}`);
    return tensor;
  };
  const inputWeights: Tensor[] = [];
  if (metric.reads.includes("input")) {
    for (const projection of INPUT_PROJECTIONS[space.kind]) inputWeights.push(await read(projection));
  }
  const view: ScoringView = {
    space,
    seed,
    inputWeights,
    ...(metric.reads.includes("output") && { outputWeight: await read(OUTPUT_PROJECTION[space.kind]) }),
    ...(metric.input === "activations" && { stats: spaceStats(stats!, space) }),
    ...(metric.input === "gradients" && { gates: spaceGates(gates!, space) }),
  };
  const scores = metric.score(view);
  checkFinite(scores, `${metric.name} scores of ${space.id}`);
  return scores;
}

function spaceStats(stats: CalibrationStats, space: Space): SetChannelStats {
  const channels = stats.spaces.get(space.id);
  const expected = channelCount(space);
  if (channels?.sum.length !== expected) {
    const got = channels === undefined ? "none" : `${channels.sum.length}`;
    const message = `statistics of ${space.id}: expected ${expected} channels, got ${got}`;
    throw new GpruneError("BAD_ARGUMENT", message, { hint: "Calibrate on the model that is being pruned." });
  }
  if (!(stats.tokens > 0 && stats.sequences > 0)) {
    throw new GpruneError("BAD_ARGUMENT", "calibration: expected at least one window of tokens, got none");
  }
  return { ...channels, tokens: stats.tokens, sequences: stats.sequences };
}

function spaceGates({ spaces, windows }: GateStats, space: Space): SetGateStats {
  const units = spaces.get(space.id);
  if (units?.squares.length === space.units) return { ...units, windows };
  throw internalError(
    `gate statistics of ${space.id}: expected ${space.units} units, got ${units?.squares.length}`,
  );
}

function checkFinite(values: Float32Array | Float64Array, where: string): void {
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index < 0) return;
  throw new GpruneError("NOT_FINITE", `${where}: expected finite numbers, got ${values[index]} at ${index}`);
}
