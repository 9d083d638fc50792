/**
 * How long a run will take, about: the operations of its graphs' products, by their shapes, at the speed that products
 * have on this machine. What is beside them goes into shares of that speed, which were measured with SmolLM2-135M
 * (docs/PERFORMANCE.md).
 */
import { HELD_OUT_WINDOWS, hasOwnText } from "../calibrate/windows.ts";
import { SAMPLE_BATCH } from "../evaluate/sample.ts";
import { SLOPE_ROUNDS } from "../gprune/gprune.ts";
import { MAX_ALTERNATIVES } from "../gprune/width_moves.ts";
import type { HeadProgram } from "../graph/decoder/head_programs.ts";
import { programsThereAndBack } from "../graph/decoder/kept_activations.ts";
import type { BackwardProgram, LayerProgram } from "../graph/decoder/programs.ts";
import { operationsOf } from "../graph/ir/product_sizes.ts";
import { channelCount, type Space, spacesOf } from "../model/spaces.ts";
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

/** Seconds, of all and of each stage that takes any. */
export interface TimePlan {
  readonly seconds: number;
  readonly stages: Readonly<Record<string, number>>;
}

/**
 * Shares of the speed of a bare product that work of other kinds has: passes over many windows, decoding a token at a
 * time, solving in double precision.
 */
const SHARES = { passes: 0.62, decoding: 0.12, solving: 0.07 };
/** Seconds that the optimiser takes for a weight in a step. */
const OPTIMISER_SECONDS = 5e-9;
/** Bytes a second of what is written. */
const SAVING = 2e8;

/**
 * The time that is spent on each stage of a run.
 * @param speed - operations a second of a product as the layers have it (graph/runtime/product_speed.ts)
 * @param bytes - of the output
 */
export function planTime(
  run: PlannedRun,
  places: Places,
  { speed, bytes }: Readonly<Record<"speed" | "bytes", number>>,
): TimePlan {
  const work = new Work(run, places);
  const passes = speed * SHARES.passes;
  const solving = speed * SHARES.solving;
  const all: Readonly<Record<string, number>> = {
    "own text": work.ownText / (speed * SHARES.decoding),
    calibrate: work.measuring / passes,
    learn: work.learning / passes,
    refine: work.refining / solving + work.slopes / passes,
    recover: work.refitting / solving + work.training / passes + work.optimiserSteps * OPTIMISER_SECONDS,
    check: work.checking / passes,
    save: bytes / SAVING,
  };
  const stages = Object.fromEntries(Object.entries(all).filter(([, seconds]) => seconds > 0));
  return { seconds: Object.values(stages).reduce((sum, seconds) => sum + seconds, 0), stages };
}

/** Operations of the stages of a run. */
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
    // The past grows to a whole window.
    const step: BatchSizes = { B: SAMPLE_BATCH, T: 1, P: Math.ceil(seqLen / 2) };
    return windows * seqLen * (this.#layers(["cached"], step) + this.#head("logits", SAMPLE_BATCH));
  }

  /** Windows that decide have statistics, those of least squares moments; many are both. */
  get measuring(): number {
    const { allocation, tokens, refitTokens } = this.#run;
    const known = hasStatistics(this.#run) ? tokens : 0;
    const fitted = refitsOutputs(this.#run) ? refitTokens : 0;
    const both = Math.min(known, fitted);
    const curves = allocation === "curves" ? tokens * this.#layers(["gram"]) : 0;
    return (
      both * this.#layers(["statisticsAndMoments"]) +
      (fitted - both) * this.#layers(["moments"]) +
      (known - both) * this.#layers(["statistics"]) +
      curves
    );
  }

  /** Gradients of the metric, in the dense model, and those of the rounds, in models that get smaller. */
  get learning(): number {
    const { allocation, gradients, tokens, config } = this.#run;
    if (!learns(this.#run)) return 0;
    const rounds = allocation === "learned" ? config.rounds * roundTokens(this.#run, 1) : 0;
    const metric = gradients ? tokens : 0;
    const layers = this.#thereAndBack("backward");
    const head = this.#head("lossBackward");
    return metric * (layers + head) + rounds * ((1 - config.sparsity / 2) * layers + head);
  }

  /** Least squares of all widths that are asked for: two factors, and as many right-hand sides as channels change. */
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

  /** The dense model forward, the pruned one there and back. */
  get training(): number {
    return distills(this.#run) ? new Work(withTrainingWindows(this.#run), this.#places).#steps() : 0;
  }

  #steps(): number {
    const { sparsity, steps, seqLen, samples } = this.#run.config;
    const layers = this.#layers(["forward"]) + (1 - sparsity) * this.#thereAndBack("train");
    return steps * samples * seqLen * (layers + this.#head("divergenceBackward"));
  }

  /** Weights that the optimiser changes, in all steps together. */
  get optimiserSteps(): number {
    const { spec, config } = this.#run;
    return distills(this.#run) ? config.steps * leftInLayers(spec, config.sparsity) : 0;
  }

  /** Both models forward over what is held out. */
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
    return operations.reduce((sum, own) => sum + own, 0) / (batch.B * batch.T);
  }

  /** Operations of the head for one token. */
  #head(program: HeadProgram, rows = 1): number {
    const { graph, sizes } = this.#graphs.head(program, rows);
    return operationsOf(graph, sizes) / rows;
  }

  /** Factors of the covariances of what stays, and a solution for every output and others. */
  #solving(factors: number, sidesOf: (space: Space) => number): number {
    const { spec, config } = this.#run;
    return spacesOf(spec).reduce((sum, space) => {
      const channels = (1 - config.sparsity) * channelCount(space);
      const sides = factors * spec.hiddenSize + sidesOf(space);
      return sum + (factors * channels ** 3) / 3 + 2 * channels ** 2 * sides;
    }, 0);
  }
}
