/** The graphs that a planned run computes with, and the sizes of their symbolic dimensions. */

import { getOrMake } from "../base/map_values.ts";
import { momentFeeds } from "../calibrate/moments.ts";
import { changedChannels, MAX_ALTERNATIVES } from "../gprune/width_moves.ts";
import { layerSizes, layerStructure } from "../graph/decoder/decoder.ts";
import { MICRO_BATCH_TOKENS } from "../graph/decoder/forward.ts";
import { HEAD_PROGRAMS, type HeadProgram } from "../graph/decoder/head_programs.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "../graph/decoder/programs.ts";
import type { Graph } from "../graph/ir/graph.ts";
import type { Sizes } from "../graph/ir/product_sizes.ts";
import { type Space, type SpaceKind, spacesOf } from "../model/spaces.ts";
import type { LayerSpec } from "../model/spec.ts";
import type { PlannedRun } from "./planned_run.ts";

/** A graph with the sizes that it runs with. */
export interface SizedGraph {
  readonly graph: Graph;
  readonly sizes: Sizes;
}

/** Sequences that go through a graph together, and their tokens. */
export interface BatchSizes {
  readonly B: number;
  readonly T: number;
  /** Places for past tokens, where there are any. */
  readonly P?: number;
}

export class PlannedGraphs {
  readonly #run: PlannedRun;

  constructor(run: PlannedRun) {
    this.#run = run;
  }

  /** A micro-batch of the run's windows. */
  get batch(): BatchSizes {
    const { seqLen, samples } = this.#run.config;
    return { B: Math.max(1, Math.min(samples, Math.floor(MICRO_BATCH_TOKENS / seqLen))), T: seqLen };
  }

  /** What a program runs on layers, one for those that are alike; `count` is how many they are. */
  layers(
    program: LayerProgram,
    batch: BatchSizes = this.batch,
  ): readonly (SizedGraph & { readonly count: number })[] {
    const alike = new Map<string, { readonly layer: LayerSpec; count: number }>();
    for (const layer of this.#run.spec.layers) {
      getOrMake(alike, JSON.stringify(layer), () => ({ layer, count: 0 })).count++;
    }
    return Array.from(alike.values(), ({ layer, count }) => ({
      ...this.#layer(program, layer, batch),
      count,
    }));
  }

  /** What a program runs on the head for so many rows. */
  head(program: HeadProgram, rows: number): SizedGraph {
    const { spec } = this.#run;
    return { graph: HEAD_PROGRAMS[program](spec), sizes: { M: rows, V: spec.vocabSize, A: 1 } };
  }

  /** Channels of an alternative of a space that are not in the present width. */
  changedChannels(space: Space): number {
    return changedChannels(space, this.#run.config.roundTo);
  }

  #layer(program: LayerProgram, layer: LayerSpec, batch: BatchSizes): SizedGraph {
    const { spec, config } = this.#run;
    // Recovery adds biases; they cost nothing here, but the graph that has them has one operator more.
    const whole = { tokens: config.seqLen, window: layer.window };
    const graph = LAYER_PROGRAMS[program](structureFor(program, layerStructure(spec, layer), whole));
    const { headDim: H } = spec;
    const own = layerSizes(layer);
    const feeds = { ...momentFeeds("kv", own.N * H), ...momentFeeds("ffn", own.F) };
    const strips = Object.fromEntries(Object.entries(feeds).map(([name, { shape }]) => [name, shape[0]!]));
    const sizes = { ...own, H, gT: layer.groupSize * batch.T, ...strips, ...this.#slopeSizes };
    return { graph, sizes: { ...batch, ...sizes } };
  }

  /** Sizes of the program `slopes`. */
  get #slopeSizes(): Sizes {
    const most = (kind: SpaceKind): number =>
      Math.max(
        ...spacesOf(this.#run.spec).map((space) => (space.kind === kind ? this.changedChannels(space) : 1)),
      );
    return {
      "kv.V": MAX_ALTERNATIVES.kv,
      "ffn.V": MAX_ALTERNATIVES.ffn,
      "kv.r": most("kv"),
      "ffn.r": most("ffn"),
    };
  }
}
