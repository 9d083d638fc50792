/** The inputs of a layer's graph that depend on positions: angles and masks, with an LRU cache for whole sequences. */

import { mixerOf } from "../../model/mixer_layers.ts";
import { isActive, isLinear } from "../../model/mixer_spec.ts";
import type { LayerSpec } from "../../model/spec.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import type { Feeds, Runtime } from "../runtime/runtime.ts";
import type { LayerStructure } from "./layer_structure.ts";
import {
  blockMask,
  blockPositions,
  cacheMask,
  causalMask,
  forestMask,
  type RotaryTables,
  rotaryTables,
  type Span,
  slopeTensor,
  spanPositions,
  withDistances,
} from "./positions.ts";
import { depths, parentsByForest, pathsOf } from "./prefix_forest.ts";

/** The graph inputs that depend on positions alone. */
export const POSITION_INPUTS: ReadonlySet<string> = new Set(["cos", "sin", "query_scale", "mask", "slopes"]);

/** Bytes of the cache, unless the latest feeds alone have more. */
const KEPT_BYTES = 32e6;

/** A span of a sequence. */
export interface SequenceSpan extends Span {
  /** Length of the whole sequence, tokens. */
  readonly sequence: number;
  /** Places of the cache that holds the tokens before the span; undefined without a cache. */
  readonly places: number | undefined;
}

/** Largest number of bytes in memory when feeds of these sizes, in bytes, are requested in turn. */
export function keptPositionBytes(sizes: readonly number[]): number {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return Math.max(Math.min(total, KEPT_BYTES), ...sizes);
}

/** Angles and masks for one model. */
export class PositionFeeds {
  readonly #runtime: Runtime;
  /** By everything that they depend on, most recently used last. */
  readonly #kept = new Map<string, Feeds>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Feeds of a span of every sequence of a micro-batch. @param structure - of the graph that they are for */
  of(layer: LayerSpec, span: SequenceSpan, structure: LayerStructure): Feeds {
    if (layer.mixer !== undefined) return {};
    const feeds = this.#placed(layer, span, structure);
    const slopes = slopeTensor(layer);
    return slopes === null ? feeds : { ...feeds, slopes };
  }

  /** Angles and masks, which layers with other slopes share. */
  #placed(layer: LayerSpec, span: SequenceSpan, structure: LayerStructure): Feeds {
    const { rope, window } = layer;
    const key = JSON.stringify([rope, structure.span ?? layer.groupSize, window, structure.alibi, span]);
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept;
    }
    const feeds = spanFeeds(layer, span, structure);
    // Generation requests every offset once; only whole windows are worth keeping.
    if (span.offset > 0) return feeds;
    this.#makeRoom(bytesOf(feeds));
    this.#kept.set(key, feeds);
    this.#runtime.keep(feeds);
    return feeds;
  }

  /** Evicts the least recently used feeds until `bytes` more fit. */
  #makeRoom(bytes: number): void {
    let total = [...this.#kept.values()].reduce((sum, feeds) => sum + bytesOf(feeds), bytes);
    for (const [key, feeds] of this.#kept) {
      if (total <= KEPT_BYTES) return;
      this.#kept.delete(key);
      this.#runtime.release(feeds);
      total -= bytesOf(feeds);
    }
  }
}

function spanFeeds(
  layer: LayerSpec,
  { sequence, places, ...span }: SequenceSpan,
  { span: blocks }: LayerStructure,
): Feeds {
  const { rope, window } = layer;
  const { groupSize, placed } = maskRule(layer);
  const positions = spanPositions(span);
  const angles = rope === null ? {} : rotaryTables(rope, positions, sequence);
  const pastMask = (count: number): Tensor =>
    placed(cacheMask(span, count, { groupSize, window }), positions, firstPositions(count));
  return {
    ...angles,
    ...(places === undefined ? {} : { past_mask: pastMask(places) }),
    mask:
      blocks === undefined
        ? placed(causalMask(span.tokens, groupSize, window), positions, positions)
        : placed(blockMask(blocks), ...blockPositions(blocks)),
  };
}

/** The number of heads that a layer's masks are for, and what they become. */
function maskRule({ slopes, groupSize }: LayerSpec): {
  readonly groupSize: number;
  readonly placed: typeof withDistances;
} {
  return slopes === undefined
    ? { groupSize, placed: (mask) => mask }
    : { groupSize: 1, placed: withDistances };
}

function firstPositions(tokens: number): Int32Array {
  return spanPositions({ tokens, offset: 0 });
}

/** Angles and masks of several forests of equal size. @param parents - of all forests, one after another */
export function forestFeeds(layer: LayerSpec, parents: Int32Array, forests: number): Feeds {
  const mixer = mixerOf(layer);
  return {
    ...(isActive(mixer) && ancestorFeeds(parents, forests, mixer.length)),
    ...(isLinear(mixer) && pathFeeds(parents, forests)),
    ...(layer.mixer === undefined && attentionFeeds(layer, parents, forests)),
  };
}

function attentionFeeds(layer: LayerSpec, parents: Int32Array, forests: number): Feeds {
  const { rope, window } = layer;
  const rows = parentsByForest(parents, forests);
  const { groupSize, placed } = maskRule(layer);
  const masks = stack(
    rows.map((row) => placed(forestMask(row, groupSize, window), depths(row), depths(row))),
  );
  const mask = { shape: masks.shape.toSpliced(1, 0, 1), data: masks.data };
  const slopes = slopeTensor(layer);
  const shared = slopes === null ? { mask } : { mask, slopes };
  if (rope === null) return shared;
  const angles = rows.map((row) => {
    const positions = depths(row);
    const last = positions.reduce((most, position) => Math.max(most, position), 0);
    return rotaryTables(rope, positions, last + 1);
  });
  const stacked = Object.keys(angles[0]!).map((name) => [
    name,
    stack(angles.map((tables) => tables[name as keyof RotaryTables]!)),
  ]);
  return { ...Object.fromEntries(stacked), ...shared };
}

/** Sequences of forests, as linear attention wants them (`ForestPaths`). */
function pathFeeds(parents: Int32Array, forests: number): Feeds {
  const size = parents.length / forests;
  const paths = parentsByForest(parents, forests).flatMap((row, forest) =>
    pathsOf(row).map((path) => path.map((node) => forest * size + node)),
  );
  const longest = Math.max(...paths.map((path) => path.length));
  const rows = new Int32Array(paths.length * longest).fill(parents.length);
  const places = new Int32Array(parents.length);
  for (const [sequence, path] of paths.entries()) {
    rows.set(path, sequence * longest);
    for (const [t, row] of path.entries()) places[row] = sequence * longest + t;
  }
  return {
    paths: { shape: [paths.length, longest], data: rows },
    places: { shape: [forests, size], data: places },
  };
}

/** The rows of the 1st, 2nd, ... predecessors of every token, as a filter of forests wants them. */
function ancestorFeeds(parents: Int32Array, forests: number, length: number): Feeds {
  const size = parents.length / forests;
  const none = parents.length;
  const parentOf = (row: number): number => {
    if (row === none || parents[row]! < 0) return none;
    return row - (row % size) + parents[row]!;
  };
  const feeds: Record<string, Feeds[string]> = {};
  let rows = Int32Array.from(parents.keys());
  for (let d = 1; d < length; d++) {
    rows = rows.map(parentOf);
    feeds[`ancestor${d}`] = { shape: [forests, size], data: rows };
  }
  return feeds;
}

/** Stacks tensors of one shape along a new first axis. */
function stack(tensors: readonly Tensor[]): Tensor {
  const { shape, data } = tensors[0]!;
  const joined = new Float32Array(tensors.length * data.length);
  for (const [index, tensor] of tensors.entries()) joined.set(tensor.data, index * data.length);
  return { shape: [tensors.length, ...shape], data: joined };
}

function bytesOf(feeds: Feeds): number {
  return Object.values(feeds).reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
}
