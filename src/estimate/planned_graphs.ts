/** The graphs of a planned run, and the sizes of their symbolic dimensions. */

import { momentSizes } from "../calibrate/moments.ts";
import { changedChannels, MAX_ALTERNATIVES } from "../gprune/width_moves.ts";
import { MICRO_BATCH_TOKENS } from "../graph/decoder/forward.ts";
import { HEAD_PROGRAMS, type HeadProgram } from "../graph/decoder/head_programs.ts";
import { layerSizes, layerStructure } from "../graph/decoder/layer_structure.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "../graph/decoder/programs.ts";
import type { Graph } from "../graph/ir/graph.ts";
import type { Sizes } from "../graph/ir/product_sizes.ts";
import { SOME_ROWS } from "../graph/ir/shapes.ts";
import type { Space } from "../model/spaces.ts";
import { headDimOf, valueDimOf } from "../model/spec.ts";
import type { SpaceKind } from "../model/weights.ts";
import type { PlannedRun } from "./planned_run.ts";
import { specSizes } from "./spec_sizes.ts";

/** A graph and the sizes of its dimensions. */
export interface SizedGraph {
  readonly graph: Graph;
  readonly sizes: Sizes;
}

/** Size of a batch. */
export interface BatchSizes {
  /** Sequences. */
  readonly B: number;
  /** Tokens of each sequence. */
  readonly T: number;
  /** Places of the key/value cache; absent without one. */
  readonly P?: number;
}

/** Builds the graphs of a run's programs on demand. */
export class PlannedGraphs {
  readonly #run: PlannedRun;

  constructor(run: PlannedRun) {
    this.#run = run;
  }

  /** Size of a micro-batch of the run's windows. */
  get batch(): BatchSizes {
    const { seqLen, samples } = this.#run.config;
    return { B: Math.max(1, Math.min(samples, Math.floor(MICRO_BATCH_TOKENS / seqLen))), T: seqLen };
  }

  /** A program's graph for each distinct layer spec, with the number of layers that have it. */
  layers(
    program: LayerProgram,
    batch: BatchSizes = this.batch,
  ): readonly (SizedGraph & { readonly count: number })[] {
    const { alike } = specSizes(this.#run.spec);
    return alike.map(({ index, count }) => ({ ...this.#layer(program, index, batch), count }));
  }

  /** A program's graph of the head for `rows` rows. */
  head(program: HeadProgram, rows: number): SizedGraph {
    const { spec } = this.#run;
    return { graph: HEAD_PROGRAMS[program](spec), sizes: { M: rows, V: spec.vocabSize, A: 1 } };
  }

  /** Most channels by which an alternative of a space differs from its present width. */
  changedChannels(space: Space): number {
    return changedChannels(space, this.#run.config.roundTo);
  }

  #layer(program: LayerProgram, index: number, batch: BatchSizes): SizedGraph {
    const { spec, config } = this.#run;
    const layer = spec.layers[index]!;
    // Biases that recovery adds are left out: they cost nothing here but one more operator of the graph.
    const whole = { tokens: config.seqLen, window: layer.window, sparse: config.device === "cpu" };
    const graph = LAYER_PROGRAMS[program](structureFor(program, layerStructure(spec, index), whole));
    const own = layerSizes(layer);
    const strips = {
      ...momentSizes("kv", own.N * valueDimOf(spec, layer)),
      ...momentSizes("ffn", own.F, layer.experts?.count),
    };
    const { active, count } = layer.experts ?? { active: 1, count: 1 };
    const rows = Math.ceil((batch.B * batch.T * active) / count);
    const sizes = {
      ...own,
      [SOME_ROWS]: rows,
      H: headDimOf(spec, layer),
      gT: layer.groupSize * batch.T,
      ...strips,
      ...this.#slopeSizes,
    };
    return { graph, sizes: { ...batch, ...sizes } };
  }

  /** Sizes of the program `slopes`. */
  get #slopeSizes(): Sizes {
    const most = (kind: SpaceKind): number =>
      Math.max(
        ...specSizes(this.#run.spec).spaces.map((space) =>
          space.kind === kind ? this.changedChannels(space) : 1,
        ),
      );
    return {
      "kv.V": MAX_ALTERNATIVES.kv,
      "ffn.V": MAX_ALTERNATIVES.ffn,
      "kv.r": most("kv"),
      "ffn.r": most("ffn"),
    };
  }
}
