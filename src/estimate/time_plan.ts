/**
 * Estimates how long a run will take: the operations of its graphs' matrix products, divided by the measured speed of a
 * product on this machine. All other work is accounted for by shares of that speed, measured with SmolLM2-135M
 * (docs/PERFORMANCE.md).
 */
import { hasOwnText } from "../calibrate/text_sets.ts";
import { HELD_OUT_WINDOWS } from "../calibrate/windows.ts";
import { GENERATED_BATCH } from "../evaluate/generated_texts.ts";
import { SLOPE_ROUNDS } from "../gprune/gprune.ts";
import { MAX_ALTERNATIVES } from "../gprune/width_moves.ts";
import type { HeadProgram } from "../graph/decoder/head_programs.ts";
import { programsThereAndBack } from "../graph/decoder/kept_activations.ts";
import type { BackwardProgram, LayerProgram } from "../graph/decoder/programs.ts";
import { operationsOf } from "../graph/ir/product_sizes.ts";
import { channelCount, type Space } from "../model/spaces.ts";
import { leftInLayers } from "../prune/remaining.ts";
import type { Places } from "./memory_sizes.ts";
import { type BatchSizes, PlannedGraphs } from "./planned_graphs.ts";
import {
  distills,
  hasStatistics,
  learns,
  type PlannedRun,
  refinesWidths,
  refitsOutputs,
  roundTokens,
  withTrainingWindows,
} from "./planned_run.ts";
import { specSizes } from "./spec_sizes.ts";

/** Estimated duration of a run. */
export interface TimePlan {
  /** Of the whole run. */
  readonly seconds: number;
  /** Seconds of each stage that takes any. */
  readonly stages: Readonly<Record<string, number>>;
}

/** Speed relative to a bare matrix product: of passes over many windows, of decoding, of solving in float64. */
const SHARES = { passes: 0.62, decoding: 0.12, solving: 0.07 };
/** Seconds of the optimiser per weight and step. */
const OPTIMISER_SECONDS = 5e-9;
/** Bytes written per second. */
const SAVING = 2e8;

/**
 * Estimates the seconds of each stage of a run.
 * @param speed - operations per second of a product of the layers' size (graph/runtime/product_speed.ts)
 * @param bytes - size of the output
 */
export function planTime(
  run: PlannedRun,
  places: Places,
  { speed, bytes }: Readonly<Record<"speed" | "bytes", number>>,
): TimePlan {
  const work = new Work(run, places);
  const passes = speed * SHARES.passes;
  const solving = speed * SHARES.solving;
  const estimates: Readonly<Record<string, number>> = {
    "own text": work.ownText / (speed * SHARES.decoding),
    calibrate: work.measuring / passes,
    learn: work.learning / passes,
    refine: work.refining / solving + work.slopes / passes,
    recover: work.refitting / solving + work.training / passes + work.optimiserSteps * OPTIMISER_SECONDS,
    check: work.checking / passes,
    save: bytes / SAVING,
  };
  const stages = Object.fromEntries(Object.entries(estimates).filter(([, seconds]) => seconds > 0));
  return { seconds: Object.values(stages).reduce((sum, seconds) => sum + seconds, 0), stages };
}

/** Number of operations of the stages of a run. */
class Work {
  readonly #run: PlannedRun;
  readonly #graphs: PlannedGraphs;
  readonly #places: Places;

  constructor(run: PlannedRun, places: Places) {
    this.#run = run;
    this.#places = places;
    this.#graphs = new PlannedGraphs(run);
  }

  get ownText(): number {
    if (!hasOwnText(this.#run.config)) return 0;
    const { samples, seqLen } = this.#run.config;
    const windows = samples + HELD_OUT_WINDOWS;
    // The cache grows to a whole window; half of it is the mean.
    const step: BatchSizes = { B: GENERATED_BATCH, T: 1, P: Math.ceil(seqLen / 2) };
    return windows * seqLen * (this.#layers(["cached"], step) + this.#head("logits", GENERATED_BATCH));
  }

  /** Statistics of the calibration windows and moments of those for least squares; many windows are both. */
  get measuring(): number {
    const { allocation, tokens, refitTokens } = this.#run;
    const statistics = hasStatistics(this.#run) ? tokens : 0;
    const moments = refitsOutputs(this.#run) ? refitTokens : 0;
    const both = Math.min(statistics, moments);
    const curves = allocation === "curves" ? tokens * this.#layers(["gram"]) : 0;
    return (
      both * this.#layers(["statisticsAndMoments"]) +
      (moments - both) * this.#layers(["moments"]) +
      (statistics - both) * this.#layers(["statistics"]) +
      curves
    );
  }

  /** Gradients of the metric in the dense model, and those of the learning rounds in models that shrink. */
  get learning(): number {
    const { allocation, gradients, tokens, config } = this.#run;
    if (!learns(this.#run)) return 0;
    const rounds = allocation === "learned" ? config.rounds * roundTokens(this.#run, 1) : 0;
    const metric = gradients ? tokens : 0;
    const layers = this.#thereAndBack("backward");
    const head = this.#head("lossBackward");
    return metric * (layers + head) + rounds * ((1 - config.sparsity / 2) * layers + head);
  }

  /** Least squares of all alternative widths: two factors, and a right-hand side for each channel that changes. */
  get refining(): number {
    if (!refinesWidths(this.#run)) return 0;
    return this.#solving(2, (space) => MAX_ALTERNATIVES[space.kind] * this.#graphs.changedChannels(space));
  }

  get slopes(): number {
    if (!refinesWidths(this.#run)) return 0;
    return roundTokens(this.#run, SLOPE_ROUNDS) * (this.#thereAndBack("slopes") + this.#head("lossBackward"));
  }

  get refitting(): number {
    return refitsOutputs(this.#run) ? this.#solving(1, () => 0) : 0;
  }

  /** The dense model forward, the pruned one forward and backward. */
  get training(): number {
    return distills(this.#run) ? new Work(withTrainingWindows(this.#run), this.#places).#steps() : 0;
  }

  #steps(): number {
    const { sparsity, steps, seqLen, samples } = this.#run.config;
    const layers = this.#layers(["forward"]) + (1 - sparsity) * this.#thereAndBack("train");
    return steps * samples * seqLen * (layers + this.#head("divergenceBackward"));
  }

  /** Weight updates of the optimiser over all steps. */
  get optimiserSteps(): number {
    const { spec, config } = this.#run;
    return distills(this.#run) ? config.steps * leftInLayers(spec, config.sparsity) : 0;
  }

  /** Both models forward over the held-out windows. */
  get checking(): number {
    const { calibration, seqLen, sparsity } = this.#run.config;
    if (!this.#run.checks) return 0;
    const tokens = calibration.length * HELD_OUT_WINDOWS * seqLen;
    return tokens * ((2 - sparsity) * this.#layers(["forward"]) + 2 * this.#head("loss"));
  }

  #thereAndBack(program: BackwardProgram): number {
    return this.#layers(programsThereAndBack(this.#places, program));
  }

  /** Operations of all layers for one token. */
  #layers(programs: readonly LayerProgram[], batch: BatchSizes = this.#graphs.batch): number {
    const sized = programs.flatMap((program) => this.#graphs.layers(program, batch));
    const operations = sized.map(({ graph, sizes, count }) => count * operationsOf(graph, sizes));
    return operations.reduce((sum, count) => sum + count, 0) / (batch.B * batch.T);
  }

  /** Operations of the head for one token. */
  #head(program: HeadProgram, rows = 1): number {
    const { graph, sizes } = this.#graphs.head(program, rows);
    return operationsOf(graph, sizes) / rows;
  }

  /** Cholesky factors of the covariances of the kept channels, and solutions for every output and `sidesOf` more. */
  #solving(factors: number, sidesOf: (space: Space) => number): number {
    const { spec, config } = this.#run;
    return specSizes(spec).spaces.reduce((sum, space) => {
      const channels = ((1 - config.sparsity) * channelCount(space)) / space.parts;
      const sides = factors * spec.hiddenSize + sidesOf(space);
      return sum + space.parts * ((factors * channels ** 3) / 3 + 2 * channels ** 2 * sides);
    }, 0);
  }
}
