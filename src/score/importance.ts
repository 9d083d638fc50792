/**
 * Scores a whole model with one metric, reading, layer by layer, only the weights that the metric uses.
 *
 * Statistics of one set give the importance on that set, pooled statistics (calibrate/stats.ts `poolStats`) the pooled
 * importance.
 */
import { badArgument } from "../base/arguments.ts";
import { type GateStats, requireWindows } from "../calibrate/gate_stats.ts";
import { type CalibrationStats, sumsOf } from "../calibrate/stats.ts";
import { GpruneError } from "../errors.ts";
import type { Model } from "../model/model.ts";
import type { Projection } from "../model/projections.ts";
import { OUTPUT_PROJECTION, type Space, spacesOf } from "../model/spaces.ts";
import { projectionName } from "../model/weight_names.ts";
import { inputProjections } from "../model/weights.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Metric, ScoringView, SetChannelStats, SetGateStats } from "./metric.ts";

/** Channel scores by space id, each of shape [channels]. */
export type Importance = ReadonlyMap<string, Float64Array>;

/** Statistics or gate gradients of a model on some windows. */
export interface ScoreInputs {
  /** Required by metrics with input `activations`. */
  readonly stats?: CalibrationStats;
  /** Required by metrics with input `gradients`. */
  readonly gates?: GateStats;
}

/** A model, and the metric to score it with. */
export interface Scoring {
  readonly model: Model;
  readonly metric: Metric;
  readonly seed: number;
  /** Called after each layer with the number of layers done. */
  readonly onLayer?: (done: number, layers: number) => void;
}

/**
 * Importance of every channel of every prunable space.
 * @throws GpruneError BAD_ARGUMENT when the metric needs statistics that are missing, of no text or of another model,
 *   NOT_FINITE naming the tensor or space with a NaN or an infinity
 */
export async function scoreModel({ stats, gates, ...scoring }: Scoring & ScoreInputs): Promise<Importance> {
  const [importance] = await scoreEach(scoring, [{ ...(stats && { stats }), ...(gates && { gates }) }]);
  return importance!;
}

/**
 * Importance by each of several inputs, in their order; every weight is read once for all of them.
 * @throws GpruneError as `scoreModel`
 */
export async function scoreEach(
  { model, metric, seed, onLayer }: Scoring,
  inputs: readonly ScoreInputs[],
): Promise<readonly Importance[]> {
  for (const input of inputs) requireInput(metric, input);
  const spaces = spacesOf(model.spec);
  const layers = model.spec.layers.length;
  const importances = inputs.map(() => new Map<string, Float64Array>());
  for (const [index, space] of spaces.entries()) {
    const weights = await readWeights(model, metric, space);
    for (const [place, { stats, gates }] of inputs.entries()) {
      const scores = metric.score({
        space,
        seed,
        ...weights,
        ...(metric.input === "activations" && { stats: spaceStats(stats!, space) }),
        ...(metric.input === "gradients" && { gates: spaceGates(gates!, space) }),
      });
      requireFinite(scores, `${metric.name} scores of ${space.id}`);
      importances[place]!.set(space.id, scores);
    }
    if (spaces[index + 1]?.layer !== space.layer) onLayer?.(space.layer + 1, layers);
  }
  return importances;
}

function requireInput({ name, input }: Metric, { stats, gates }: ScoreInputs): void {
  if (input === "activations" && stats === undefined) {
    throw new GpruneError("BAD_ARGUMENT", `metric ${name}: expected activation statistics, got none`, {
      hint: "Give a calibration set, or use a metric of the weights, such as magnitude.",
    });
  }
  if (input === "gradients" && gates === undefined) {
    throw badArgument(`metric ${name}`, "gate gradients", "none");
  }
}

/** The weights around a space that the metric uses. */
async function readWeights(
  { spec, weights }: Model,
  { reads }: Metric,
  { kind, layer }: Space,
): Promise<Pick<ScoringView, "inputWeights" | "outputWeight">> {
  const read = async (projection: Projection): Promise<Tensor> => {
    const name = projectionName(layer, projection);
    const { shape, data } = await weights.read(name);
    requireFinite(data, `tensor ${name}`, "The checkpoint is damaged; copy or download it again.");
    // A new object, because channels.ts caches sums by it and the model's own tensors may be trained.
    return { shape, data };
  };
  const inputWeights: Tensor[] = [];
  if (reads.includes("input")) {
    for (const projection of inputProjections(spec, spec.layers[layer]!, kind))
      inputWeights.push(await read(projection));
  }
  if (!reads.includes("output")) return { inputWeights };
  return { inputWeights, outputWeight: await read(OUTPUT_PROJECTION[kind]) };
}

function spaceStats(stats: CalibrationStats, space: Space): SetChannelStats {
  return { ...sumsOf(stats, space), tokens: stats.tokens, sequences: stats.sequences };
}

function spaceGates(stats: GateStats, space: Space): SetGateStats {
  requireWindows(stats);
  const { spaces, windows } = stats;
  const units = spaces.get(space.id);
  if (units?.squares.length === space.units) return { ...units, windows };
  const got = units === undefined ? "none" : units.squares.length;
  throw badArgument(`gate statistics of ${space.id}`, `${space.units} units`, got);
}

function requireFinite(values: Float32Array | Float64Array, where: string, hint?: string): void {
  for (let at = 0; at < values.length; at++) {
    if (Number.isFinite(values[at])) continue;
    const message = `${where}: expected finite numbers, got ${values[at]} at ${at}`;
    throw new GpruneError("NOT_FINITE", message, { hint });
  }
}
