/** Bytes of what stages of a run hold, from the shapes of the model, the settings and the number of tokens. */
import { gramStrips } from "../calibrate/moments.ts";
import { CHANNEL_STATS_BYTES } from "../calibrate/stats.ts";
import { SAMPLE_BATCH } from "../evaluate/sample.ts";
import { SLOPE_ROUNDS } from "../gprune/gprune.ts";
import { MAX_ALTERNATIVES } from "../gprune/width_moves.ts";
import type { HeadProgram } from "../graph/decoder/head_programs.ts";
import { keptBytes, programsThereAndBack } from "../graph/decoder/kept_activations.ts";
import { keptPositionBytes, POSITION_INPUTS } from "../graph/decoder/position_feeds.ts";
import type { BackwardProgram, LayerProgram } from "../graph/decoder/programs.ts";
import { footprint, valueBytes } from "../graph/ir/footprint.ts";
import { headRows, type MemoryPolicy } from "../graph/runtime/memory_policy.ts";
import { WRITES_BEHIND } from "../io/files/spill_file.ts";
import {
  channelCount,
  layerParameters,
  layerWeightsOf,
  type Space,
  spacesOf,
  weightsOf,
} from "../model/spaces.ts";
import { leftInLayers, leftInOutputs } from "../prune/remaining.ts";
import { TEACHER_BYTES } from "../recover/distill.ts";
import { triangleLength } from "../tensor/symmetric.ts";
import { elementCount } from "../tensor/tensor.ts";
import { type BatchSizes, PlannedGraphs } from "./planned_graphs.ts";
import {
  hasStatistics,
  learns,
  measuredTokens,
  type PlannedRun,
  refinesWidths,
  refitsOutputs,
  roundTokens,
} from "./planned_run.ts";

/** Node, ONNX Runtime, the tokenizer, and what the collector of garbage has not seen yet. */
export const BASE_BYTES = 400e6;

/** What there are statistics of: a set, and each of its halves. */
const WHOLE_AND_HALVES = 3;

/** Bytes by what they are for. */
export type Items = Readonly<Record<string, number>>;

/** Where things are; the bytes of the output do not depend on it. */
export type Places = Omit<MemoryPolicy, "scratch">;

/** Bytes of what a run holds, in its places. */
export class RunSizes {
  readonly hiddenSize: number;
  /** Channels of every kind of space, in the widest layer. */
  readonly channels: readonly number[];
  readonly widest: number;
  readonly largestTensor: number;
  readonly #run: PlannedRun;
  readonly #places: Places;
  readonly #graphs: PlannedGraphs;
  #kept: number | undefined;

  constructor(run: PlannedRun, places: Places) {
    this.#run = run;
    this.#graphs = new PlannedGraphs(run);
    this.#places = places;
    this.hiddenSize = run.spec.hiddenSize;
    const channels = (kind: string): number =>
      Math.max(
        ...spacesOf(run.spec)
          .filter((space) => space.kind === kind)
          .map(channelCount),
      );
    this.channels = [channels("kv"), channels("ffn")];
    this.widest = Math.max(...this.channels);
    this.largestTensor = Math.max(...weightsOf(run.spec).map(({ shape }) => 4 * elementCount(shape)));
  }

  /** What every pass through the layers holds. */
  passing(programs: readonly LayerProgram[]): Items {
    return {
      ...this.layers(),
      activations: Math.max(...programs.map((program) => this.#layerFootprint(program))),
      positions: this.#positions,
      ...this.known,
    };
  }

  /** What a pass through the layers and back holds, besides what is kept in between. */
  passingBack(program: BackwardProgram): Items {
    return this.passing(programsThereAndBack(this.#places, program));
  }

  /** What calibration found. */
  get known(): Items {
    return { statistics: this.statistics, moments: this.#places.spillHidden ? 0 : this.moments };
  }

  /** A text that becomes tokens. */
  get encoding(): Items {
    return { base: BASE_BYTES, text: this.#run.encodingBytes };
  }

  /** Layers in memory. */
  layers(): Items {
    const count = this.#places.prefetch ? 2 : 1;
    const matrices = this.#run.spec.layers.flatMap((_, index) =>
      layerWeightsOf(this.#run.spec, index).map(({ shape }) => 4 * elementCount(shape)),
    );
    // A tensor is read before it is cut.
    return { base: BASE_BYTES, layers: count * Math.max(...this.#layerBytes) + Math.max(...matrices) };
  }

  /** What a program of the head holds. */
  head(program: HeadProgram): Items {
    const { vocabSize } = this.#run.spec;
    const { B, T } = this.#graphs.batch;
    const { graph, sizes } = this.#graphs.head(program, Math.min(B * T, headRows(vocabSize, this.#places)));
    return {
      base: BASE_BYTES,
      head: 4 * vocabSize * this.hiddenSize,
      activations: footprint(graph, sizes),
    };
  }

  /**
   * What decoding holds besides the head: all layers, and keys and values of every window, in arrays with a quarter
   * more room beside those that they grew from.
   */
  get decoding(): Items {
    const { spec, config } = this.#run;
    const token = total(spec.layers.map(({ kvGroups }) => 2 * kvGroups * spec.headDim));
    return {
      layers: total(this.#layerBytes),
      "keys and values": 2.25 * 4 * SAMPLE_BATCH * config.seqLen * token,
      activations: this.#layerFootprint("cached", { B: SAMPLE_BATCH, T: 1, P: config.seqLen }),
    };
  }

  /** What gathering statistics, and perhaps moments, of one layer after the other holds. */
  get measuring(): Items {
    if (!refitsOutputs(this.#run)) return this.passing(["statistics"]);
    const sums = total(this.channels.flatMap(gramStrips).map(({ rows, columns }) => rows * columns));
    return {
      ...this.passing([hasStatistics(this.#run) ? "statisticsAndMoments" : "moments"]),
      // Sums of both kinds of spaces in float64, and the covariances of one.
      "Gram matrices": 8 * sums + 4 * triangleLength(this.widest),
    };
  }

  /**
   * What solving for an output projection holds: the dense one, what of it is lost, covariances in float64, and the
   * factor.
   */
  get solving(): Items {
    const projection = this.widest * this.hiddenSize;
    return {
      base: BASE_BYTES,
      "output projection": (4 + 8) * projection,
      "Gram matrices": 8 * (this.widest ** 2 + projection) + 4 * triangleLength(this.widest),
      factor: this.#factorWith(this.hiddenSize),
      ...this.known,
    };
  }

  /** What solving for an output projection and its alternatives holds; their right-hand sides are beside the factor. */
  get solvingAlternatives(): Items {
    const each = spacesOf(this.#run.spec).map(
      (space) => MAX_ALTERNATIVES[space.kind] * this.#graphs.changedChannels(space),
    );
    const rows = 8 * this.widest * Math.max(...each);
    const { "Gram matrices": matrices = 0, factor = 0, ...solving } = this.solving;
    const all = Math.max(factor, this.#factorWith(Math.max(...each)) + rows);
    // Channels that come are fitted and, as long as they are not there, lost.
    return { ...solving, "Gram matrices": matrices + rows, factor: all };
  }

  /** The factor for so many right-hand sides, and what is beside it (graph/runtime/cholesky.ts). */
  #factorWith(sides: number): number {
    return 8 * this.widest * (this.widest / 2 + 2 * sides);
  }

  /** Moments of all spaces (calibrate/moments.ts). */
  get moments(): number {
    if (!refitsOutputs(this.#run)) return 0;
    const channels = spacesOf(this.#run.spec).map(channelCount);
    return total(channels.map((n) => 4 * triangleLength(n) + 16 * n));
  }

  /** Hidden states between two layers that are in memory. */
  get hidden(): number {
    return this.#places.spillHidden ? this.#waiting : this.#hiddenOf(this.#run.tokens);
  }

  /** Hidden states of the windows that go to the head and back together. */
  get lotHidden(): number {
    return this.#hiddenOf(this.#lotTokens());
  }

  /**
   * What a stage holds together with what waits for the way back: layer inputs, and perhaps what layers computed and
   * the weights of all.
   */
  withKept(stage: Items): Items {
    const { spillInputs, keepActivations } = this.#places;
    const items = { ...stage, "layer inputs": spillInputs ? this.#waiting : this.#lotInputs() };
    if (!keepActivations) return items;
    return {
      ...items,
      "kept activations": this.#keptBytes * this.#lotTokens(),
      // Those of the head and of the layer at hand are among them. Embeddings are read by rows.
      "kept weights": total(this.#layerBytes) + 4 * this.#run.spec.vocabSize * this.hiddenSize,
      layers: this.largestTensor,
      head: 0,
    };
  }

  /** Gradients of the gates of all channels, of the windows that go there and back together. */
  get gates(): number {
    const { spec, config } = this.#run;
    const channels = total(spacesOf(spec).map(channelCount));
    return (this.#lotTokens() / config.seqLen) * 4 * channels;
  }

  /** Sums per channel and set, of halves and wholes, and the scores made of them. */
  get statistics(): number {
    if (!hasStatistics(this.#run)) return 0;
    const channels = total(spacesOf(this.#run.spec).map(channelCount));
    const lots = this.#run.config.calibration.length + 1;
    return WHOLE_AND_HALVES * (CHANNEL_STATS_BYTES + 8) * channels * lots;
  }

  /** Refitted projections that are in memory while they are made. */
  get refitted(): number {
    return this.#places.spillHidden ? 0 : this.#allRefitted;
  }

  /** Output projections with the ways to other widths, in memory while widths are refined. */
  get alternatives(): number {
    return this.#places.spillHidden ? 0 : this.#allAlternatives;
  }

  /** Bytes of one output projection while it is fitted, and of covariances of what comes, in float64. */
  get layerAlternatives(): number {
    const each = spacesOf(this.#run.spec).map((space) => {
      const [changed, n] = [this.#graphs.changedChannels(space), channelCount(space)];
      const coming = (MAX_ALTERNATIVES[space.kind] / 2) * changed * (n + this.hiddenSize + changed);
      return this.#alternativesOf(space) + 8 * coming;
    });
    return Math.max(...each);
  }

  /** Bytes of one layer's changes on their way through the graph, and of the dense projection beside them. */
  get changes(): number {
    return 2 * Math.max(...spacesOf(this.#run.spec).map((space) => this.#alternativesOf(space)));
  }

  /** Tensors of the pruned model that are no longer those of the file. */
  get newWeights(): number {
    const { recover } = this.#run.config;
    if (recover === "distill") return this.trained;
    return recover === "lstsq" ? this.refitted : 0;
  }

  /**
   * What training holds from step to step, and what a step, whose windows are the run's, holds on the way forward and
   * back.
   */
  get training(): Items {
    const { spec, config } = this.#run;
    const state = 4 * config.samples * config.seqLen * this.hiddenSize;
    const layers = spec.layers.length;
    return {
      // And both of their moments.
      "weights in training": 3 * this.trained,
      // Of the dense model, for as many steps as there is room for, but for one.
      "hidden states": Math.max(TEACHER_BYTES, layers * state),
      // And the last layer's output and its gradient.
      "layer inputs": (layers + 2) * state,
      "kept activations": this.#keptBytes * config.samples * config.seqLen,
      "refitted weights": this.refitted,
    };
  }

  /** The layers' weights that training changes, of which pruning leaves as many as it is to. */
  get trained(): number {
    return 4 * leftInLayers(this.#run.spec, this.#run.config.sparsity);
  }

  /**
   * In files, at most at one time: moments are there from calibration on, refined projections while slopes are
   * measured.
   */
  get spilled(): number {
    const { spillHidden, spillInputs } = this.#places;
    const inputs = spillInputs && learns(this.#run) ? this.#lotInputs() : 0;
    const forSlopes =
      spillInputs && refinesWidths(this.#run) ? this.#lotInputs(roundTokens(this.#run, SLOPE_ROUNDS)) : 0;
    if (!spillHidden) return Math.max(inputs, forSlopes);
    const refined = this.refined + Math.max(this.#allRefitted, forSlopes);
    return this.moments + Math.max(this.#hiddenOf(measuredTokens(this.#run)), inputs, refined);
  }

  /** Projections of all widths that refining asks for. */
  get refined(): number {
    return refinesWidths(this.#run) ? this.#allAlternatives : 0;
  }

  /** Weights of every layer in float32. */
  get #layerBytes(): readonly number[] {
    const { spec } = this.#run;
    return spec.layers.map((_, index) => 4 * layerParameters(spec, index));
  }

  #hiddenOf(tokens: number): number {
    return 4 * tokens * this.hiddenSize;
  }

  /** Output projections of the pruned model. */
  get #allRefitted(): number {
    const { spec, config } = this.#run;
    return refitsOutputs(this.#run) ? 4 * leftInOutputs(spec, config.sparsity) : 0;
  }

  get #allAlternatives(): number {
    return total(spacesOf(this.#run.spec).map((space) => this.#alternativesOf(space)));
  }

  /** A projection with the ways to other widths. */
  #alternativesOf(space: Space): number {
    return 4 * (this.hiddenSize * channelCount(space) + this.#changesOf(space));
  }

  /** Numbers of a space's changes. */
  #changesOf(space: Space): number {
    return (
      MAX_ALTERNATIVES[space.kind] *
      this.#graphs.changedChannels(space) *
      (channelCount(space) + this.hiddenSize + 1)
    );
  }

  /** Micro-batches of a file that are in memory: one that is computed, one read ahead, some to be written. */
  get #waiting(): number {
    return (2 + WRITES_BEHIND) * 4 * this.#graphs.batch.B * this.#graphs.batch.T * this.hiddenSize;
  }

  /** Inputs of all layers for the windows, of so many tokens, that go there and back together. */
  #lotInputs(wanted?: number): number {
    return this.#inputBytes * this.#lotTokens(wanted);
  }

  /** @param wanted - those of the metric's gradients, or else of a round, when absent */
  #lotTokens(wanted: number = this.#run.gradients ? this.#run.tokens : roundTokens(this.#run, 1)): number {
    const fitting = this.#places.lotBytes / (this.#inputBytes + this.#keptBytes);
    return Math.min(wanted, Math.max(fitting, this.#graphs.batch.B * this.#graphs.batch.T));
  }

  /** Angles and masks of a window, for the dense and for the pruned model. */
  get #positions(): number {
    const sizes = this.#graphs.layers("forward").map(({ graph, sizes }) =>
      valueBytes(
        graph.inputs.filter(({ name }) => POSITION_INPUTS.has(name)),
        sizes,
      ),
    );
    return 2 * keptPositionBytes(sizes);
  }

  /** Bytes of a token's inputs of all layers. */
  get #inputBytes(): number {
    return this.#run.spec.layers.length * this.#hiddenOf(1);
  }

  /** Bytes of what is kept of a token beside its inputs. */
  get #keptBytes(): number {
    if (!this.#places.keepActivations) return 0;
    this.#kept ??= keptBytes(this.#run.spec);
    return this.#kept;
  }

  #layerFootprint(program: LayerProgram, batch?: BatchSizes): number {
    const layers = this.#graphs.layers(program, batch);
    return Math.max(...layers.map(({ graph, sizes }) => footprint(graph, sizes)));
  }
}

function total(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
