/** What a layer's graph is fed of positions, angles and masks; those of whole sequences are kept, the latest first. */
import type { LayerSpec } from "../../model/spec.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import type { Feeds, Runtime } from "../runtime/runtime.ts";
import type { LayerStructure } from "./decoder.ts";
import {
  blockMask,
  cacheMask,
  causalMask,
  forestMask,
  rotaryTables,
  type Span,
  spanPositions,
} from "./positions.ts";
import { depths } from "./prefix_forest.ts";

/** The graph inputs that depend on positions alone. */
export const POSITION_INPUTS: ReadonlySet<string> = new Set(["cos", "sin", "mask"]);

/** Bytes that stay in memory, beside those that were asked for last. */
const KEPT_BYTES = 32e6;

/** A span of a sequence of so many tokens; with `places`, those of a cache that the tokens before it are in. */
export interface SequenceSpan extends Span {
  readonly sequence: number;
  readonly places: number | undefined;
}

/** Bytes that are in memory at most when spans of these sizes are asked for in turn. @param sizes - in bytes */
export function keptPositionBytes(sizes: readonly number[]): number {
  const all = sizes.reduce((sum, size) => sum + size, 0);
  return Math.max(Math.min(all, KEPT_BYTES), ...sizes);
}

/** Angles and masks for one model. */
export class PositionFeeds {
  readonly #runtime: Runtime;
  /** By what they depend on, the latest last. */
  readonly #kept = new Map<string, Feeds>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Feeds of a span of every sequence of a micro-batch. @param structure - of the graph that they are for */
  of(layer: LayerSpec, span: SequenceSpan, structure: LayerStructure): Feeds {
    const { rope, window } = layer;
    const key = JSON.stringify([rope, structure.span ?? layer.groupSize, window, span]);
    const known = this.#kept.get(key);
    if (known !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, known);
      return known;
    }
    const feeds = spanFeeds(layer, span, structure);
    // Generation asks for every offset once; only whole windows are worth keeping.
    if (span.offset > 0) return feeds;
    this.#makeRoom(bytesOf(feeds));
    this.#kept.set(key, feeds);
    this.#runtime.keep(feeds);
    return feeds;
  }

  /** Lets go of the oldest until so many bytes more fit. */
  #makeRoom(bytes: number): void {
    let all = [...this.#kept.values()].reduce((sum, feeds) => sum + bytesOf(feeds), bytes);
    for (const [key, feeds] of this.#kept) {
      if (all <= KEPT_BYTES) return;
      this.#kept.delete(key);
      this.#runtime.release(feeds);
      all -= bytesOf(feeds);
    }
  }
}

function spanFeeds(
  { rope, window, groupSize }: LayerSpec,
  { sequence, places, ...span }: SequenceSpan,
  { span: blocks }: LayerStructure,
): Feeds {
  const angles = rope === null ? {} : rotaryTables(rope, spanPositions(span), sequence);
  const past = places === undefined ? {} : { past_mask: cacheMask(span, places, { groupSize, window }) };
  const mask = blocks === undefined ? causalMask(span.tokens, groupSize, window) : blockMask(blocks);
  return { ...angles, ...past, mask };
}

/** @param parents - of the forests one after another, as many nodes in each */
export function forestFeeds(
  { rope, groupSize, window }: LayerSpec,
  parents: Int32Array,
  forests: number,
): Feeds {
  const tokens = parents.length / forests;
  const own = Array.from({ length: forests }, (_, f) => parents.subarray(f * tokens, (f + 1) * tokens));
  const masks = stacked(own.map((nodes) => forestMask(nodes, groupSize, window)));
  const mask = { shape: masks.shape.toSpliced(1, 0, 1), data: masks.data };
  if (rope === null) return { mask };
  const angles = own.map((nodes) => {
    const positions = depths(nodes);
    const longest = positions.reduce((most, position) => Math.max(most, position), 0);
    return rotaryTables(rope, positions, longest + 1);
  });
  const [cos, sin] = [stacked(angles.map((table) => table.cos)), stacked(angles.map((table) => table.sin))];
  return { cos, sin, mask };
}

/** Tensors of one shape as one with an axis more, in front. */
function stacked(tensors: readonly Tensor[]): Tensor {
  const { shape, data } = tensors[0]!;
  const joined = new Float32Array(tensors.length * data.length);
  for (const [index, tensor] of tensors.entries()) joined.set(tensor.data, index * data.length);
  return { shape: [tensors.length, ...shape], data: joined };
}

function bytesOf(feeds: Feeds): number {
  return Object.values(feeds).reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
}
