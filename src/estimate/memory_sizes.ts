/** Bytes of what stages of a run hold, from the shapes of the model, the settings and the number of tokens. */
import { CHANNEL_STATS_BYTES } from "../calibrate/stats.ts";
import { GENERATED_BATCH } from "../evaluate/generated_texts.ts";
import { cacheSizes } from "../evaluate/layer_cache.ts";
import { largestBytes } from "../export/room.ts";
import { SLOPE_ROUNDS } from "../gprune/gprune.ts";
import type { HeadProgram } from "../graph/decoder/head_programs.ts";
import { inputBytes, keptBytes, programsThereAndBack } from "../graph/decoder/kept_activations.ts";
import { widestState } from "../graph/decoder/layer_structure.ts";
import { ownInputBytes } from "../graph/decoder/own_inputs.ts";
import { keptPositionBytes, POSITION_INPUTS } from "../graph/decoder/position_feeds.ts";
import type { BackwardProgram, LayerProgram } from "../graph/decoder/programs.ts";
import { footprint, valueBytes } from "../graph/ir/footprint.ts";
import { headRows, type MemoryPolicy } from "../graph/runtime/memory_policy.ts";
import { WRITES_BEHIND } from "../io/files/spill_file.ts";
import { stackedWeights } from "../model/stacked_experts.ts";
import { weightsOf } from "../model/weights.ts";
import { leftInLayers } from "../prune/remaining.ts";
import { TEACHER_BYTES } from "../recover/distill.ts";
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
import { type Items, RefitSizes } from "./refit_sizes.ts";
import { type SpecSizes, specSizes } from "./spec_sizes.ts";

/** Memory of Node, ONNX Runtime, the tokenizer, and garbage that is not collected yet. */
export const BASE_BYTES = 400e6;

/** Statistics are kept of each set and of both of its halves. */
const WHOLE_AND_HALVES = 3;

/** Which data is held in memory and which in files; the output does not depend on it. */
export type Places = Omit<MemoryPolicy, "scratch">;

/** Sizes of everything that a run holds, where `places` determines what is in memory. */
export class RunSizes {
  readonly hiddenSize: number;
  /** Channels of the widest hidden states, with what travels behind them. */
  readonly stateSize: number;
  /** Channels of the widest KV space and of the widest FFN space. */
  readonly channels: readonly number[];
  /** Channels of the widest space. */
  readonly widest: number;
  /** Bytes in float32, of those that are read as a whole. */
  readonly largestTensor: number;
  /** Memory for a tensor while it is written. */
  readonly writing: number;
  /** What least squares holds. */
  readonly refits: RefitSizes;
  readonly #run: PlannedRun;
  readonly #places: Places;
  readonly #graphs: PlannedGraphs;
  readonly #spec: SpecSizes;
  #kept: number | undefined;

  constructor(run: PlannedRun, places: Places) {
    this.#run = run;
    this.#graphs = new PlannedGraphs(run);
    this.refits = new RefitSizes(run, this.#graphs);
    this.#places = places;
    this.hiddenSize = run.spec.hiddenSize;
    this.stateSize = widestState(run.spec);
    this.#spec = specSizes(run.spec);
    this.channels = this.#spec.channels;
    this.widest = Math.max(...this.channels);
    this.largestTensor = this.#spec.largestTensor;
    this.writing = this.#spec.writing;
  }

  /** Memory of any forward pass through the layers. */
  passing(programs: readonly LayerProgram[]): Items {
    return {
      ...this.layers(),
      activations: Math.max(...programs.map((program) => this.#layerFootprint(program))),
      positions: this.#positions,
      ...this.#embeddings(1),
      ...this.known,
    };
  }

  /** Memory of a forward and backward pass through the layers, without data kept between the two. */
  passingBack(program: BackwardProgram): Items {
    return this.passing(programsThereAndBack(this.#places, program));
  }

  /** Results of calibration. */
  get known(): Items {
    return { statistics: this.statistics, moments: this.#places.spillHidden ? 0 : this.refits.moments };
  }

  /** Memory of tokenising the texts. */
  get encoding(): Items {
    return { base: BASE_BYTES, text: this.#run.encodingBytes };
  }

  /** Weights of the layers in memory. */
  layers(): Items {
    const count = this.#places.prefetch ? 2 : 1;
    const { layerBytes, largestOfLayers } = this.#spec;
    // A tensor is read whole before it is split.
    return { base: BASE_BYTES, layers: count * Math.max(...layerBytes) + largestOfLayers };
  }

  /** Memory of a program of the head. */
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
   * Memory of decoding besides the head: all layers, and the key/value caches of every window, a quarter larger than
   * their contents and, while they grow, beside the arrays that they replace.
   */
  get decoding(): Items {
    const { spec, config } = this.#run;
    const { token, fixed } = cacheSizes(spec);
    return {
      layers: total(this.#spec.layerBytes),
      "keys and values": 4 * GENERATED_BATCH * (2.25 * config.seqLen * token + 2 * fixed),
      activations: this.#layerFootprint("cached", { B: GENERATED_BATCH, T: 1, P: config.seqLen }),
    };
  }

  /** Memory of measuring statistics and, for least squares, moments, layer by layer. */
  get measuring(): Items {
    if (!refitsOutputs(this.#run)) return this.passing(["statistics"]);
    const program = hasStatistics(this.#run) ? "statisticsAndMoments" : "moments";
    return { ...this.passing([program]), "Gram matrices": this.refits.gathered };
  }

  /** Memory of refitting an output projection. */
  get solving(): Items {
    return { base: BASE_BYTES, ...this.refits.solving, ...this.known };
  }

  /** Memory of solving for an output projection and its alternatives. */
  get solvingAlternatives(): Items {
    return { ...this.solving, ...this.refits.solvingAlternatives };
  }

  /** Hidden states between two layers, as far as they are in memory. */
  get hidden(): number {
    return this.#places.spillHidden ? this.#waiting : this.#hiddenOf(this.#run.tokens);
  }

  /** Hidden states of one lot of windows, which pass forward and backward together. */
  get lotHidden(): number {
    return this.#hiddenOf(this.#lotTokens());
  }

  /** A stage's items plus the data kept for the backward pass: layer inputs, and perhaps activations and weights. */
  withKept(stage: Items): Items {
    const { spillInputs, keepActivations } = this.#places;
    const items = { ...stage, "layer inputs": spillInputs ? this.#waiting : this.#lotInputs() };
    if (!keepActivations) return items;
    return {
      ...items,
      "kept activations": this.#keptBytes * this.#lotTokens(),
      // These include the head's and the current layer's. Embeddings are read by rows.
      "kept weights": total(this.#spec.layerBytes) + 4 * this.#run.spec.vocabSize * this.hiddenSize,
      layers: this.largestTensor + this.#takenApart,
      head: 0,
    };
  }

  /** Copies of matrices whose experts are taken apart, of the layers in memory. */
  get #takenApart(): number {
    const { spec, config } = this.#run;
    const experts = stackedWeights(spec);
    if (config.device !== "cpu" || experts.size === 0) return 0;
    const inRows = weightsOf(spec).filter(({ name }) => experts.get(name)?.inRow);
    return inRows.length === 0 ? 0 : (this.#places.prefetch ? 2 : 1) * largestBytes(inRows);
  }

  /** Gradients of the gates of all channels, for one lot of windows. */
  get gates(): number {
    return (this.#lotTokens() / this.#run.config.seqLen) * 4 * this.#spec.allChannels;
  }

  /** Sums per channel of each set and its halves, and the scores made from them. */
  get statistics(): number {
    if (!hasStatistics(this.#run)) return 0;
    const lots = this.#run.config.calibration.length + 1;
    return WHOLE_AND_HALVES * (CHANNEL_STATS_BYTES + 8) * this.#spec.allChannels * lots;
  }

  /** Refitted projections, as far as they are in memory. */
  get refitted(): number {
    return this.#places.spillHidden ? 0 : this.refits.projections;
  }

  /** Output projections and their alternatives, as far as they are in memory while widths are refined. */
  get alternatives(): number {
    return this.#places.spillHidden ? 0 : this.refits.alternatives;
  }

  /** Tensors of the pruned model that differ from the checkpoint's. */
  get newWeights(): number {
    const { recover } = this.#run.config;
    if (recover === "distill") return this.trained;
    return recover === "lstsq" ? this.refitted : 0;
  }

  /** Memory of training: the state between steps, and the data of one step, whose windows are the run's. */
  get training(): Items {
    const { spec, config } = this.#run;
    const state = 4 * config.samples * config.seqLen * this.stateSize;
    const layers = spec.layers.length;
    return {
      // And both moments of AdamW.
      "weights in training": 3 * this.trained,
      // The dense model's, for as many steps as fit, at least one.
      "hidden states": Math.max(TEACHER_BYTES, layers * state),
      // Including the last layer's output and its gradient.
      "layer inputs": (layers + 2) * state,
      "kept activations": this.#keptBytes * config.samples * config.seqLen,
      "refitted weights": this.refitted,
      ...this.#embeddings(2),
    };
  }

  /** The layers' weights that pruning leaves, all of which training changes. */
  get trained(): number {
    return 4 * leftInLayers(this.#run.spec, this.#run.config.sparsity);
  }

  /** Most bytes in files at one time: moments from calibration on, alternative projections while slopes are taken. */
  get spilled(): number {
    const { spillHidden, spillInputs } = this.#places;
    const inputs = spillInputs && learns(this.#run) ? this.#lotInputs() : 0;
    const forSlopes =
      spillInputs && refinesWidths(this.#run) ? this.#lotInputs(roundTokens(this.#run, SLOPE_ROUNDS)) : 0;
    if (!spillHidden) return Math.max(inputs, forSlopes);
    const refined = this.refined + Math.max(this.refits.projections, forSlopes);
    return this.refits.moments + Math.max(this.#hiddenOf(measuredTokens(this.#run)), inputs, refined);
  }

  /** Projections and alternatives of all spaces, which refining widths keeps on disk. */
  get refined(): number {
    return refinesWidths(this.#run) ? this.refits.alternatives : 0;
  }

  #hiddenOf(tokens: number): number {
    return 4 * tokens * this.stateSize;
  }

  /** Micro-batches in memory of hidden states that are in a file: one computed, one read ahead, some to be written. */
  get #waiting(): number {
    return (2 + WRITES_BEHIND) * 4 * this.#graphs.batch.B * this.#graphs.batch.T * this.stateSize;
  }

  /** Inputs of all layers for one lot of windows. */
  #lotInputs(wanted?: number): number {
    return inputBytes(this.#run.spec) * this.#lotTokens(wanted);
  }

  /** Tokens of one lot. @param wanted - all tokens; when absent those of the metric's gradients, or else of a round */
  #lotTokens(wanted: number = this.#run.gradients ? this.#run.tokens : roundTokens(this.#run, 1)): number {
    const fitting = this.#places.lotBytes / (inputBytes(this.#run.spec) + this.#keptBytes);
    return Math.min(wanted, Math.max(fitting, this.#graphs.batch.B * this.#graphs.batch.T));
  }

  /** Rotary angles and attention masks, for the dense and for the pruned model. */
  get #positions(): number {
    const sizes = this.#graphs.layers("forward").map(({ graph, sizes }) =>
      valueBytes(
        graph.inputs.filter(({ name }) => POSITION_INPUTS.has(name)),
        sizes,
      ),
    );
    return 2 * keptPositionBytes(sizes);
  }

  /** What `models` of the same spec keep of embeddings by layer; nothing where layers have none. */
  #embeddings(models: number): Items {
    const bytes = models * ownInputBytes(this.#run.spec, this.#run.tokens);
    return bytes === 0 ? {} : { "per-layer embeddings": bytes };
  }

  /** Bytes per token of the kept activations. */
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
