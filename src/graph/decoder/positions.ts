/** Rotary angles and attention masks: the inputs of a layer's graph that depend on positions alone. */

import type { RopeSpec } from "../../model/rope_spec.ts";
import type { LayerSpec } from "../../model/spec.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type AttentionSpan, blockSizes } from "./attention.ts";
import { attentionFactor, inverseFrequencies, queryGrowth } from "./frequencies.ts";

/** Positions `offset` to `offset + tokens` of a sequence. */
export interface Span {
  readonly tokens: number;
  /** Tokens before the first one (cached). */
  readonly offset: number;
}

/** Added to scores of invisible keys; far below any score, and finite so that sums stay finite. */
export const INVISIBLE = -1e30;

/** The positions of a span, [T]. */
export function spanPositions({ tokens, offset }: Span): Int32Array {
  return Int32Array.from({ length: tokens }, (_, t) => offset + t);
}

/** The positions of a span of every sequence of a micro-batch, [B*T]. */
export function batchPositions(batch: number, { tokens, offset }: Span): Int32Array {
  return Int32Array.from({ length: batch * tokens }, (_, place) => offset + (place % tokens));
}

/** Tables of one rotary embedding, by the names of the graph's inputs. */
export interface RotaryTables {
  /** Of the rotation angles, times the attention factor, [T, rotaryDim / 2]. */
  readonly cos: Tensor;
  readonly sin: Tensor;
  /** Factors of queries, [T]; absent where these do not grow with their position. */
  readonly query_scale?: Tensor;
}

/**
 * Tables for positions [T].
 * @param sequence - length of the whole sequence, tokens
 */
export function rotaryTables(rope: RopeSpec, positions: Int32Array, sequence: number): RotaryTables {
  const frequencies = inverseFrequencies(rope, sequence);
  const factor = attentionFactor(rope);
  const half = frequencies.length;
  const tokens = positions.length;
  const cos = new Float32Array(tokens * half);
  const sin = new Float32Array(tokens * half);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < half; i++) {
      // float32 products, as the reference forms them
      const angle = Math.fround(positions[t]! * frequencies[i]!);
      cos[t * half + i] = factor * Math.cos(angle);
      sin[t * half + i] = factor * Math.sin(angle);
    }
  }
  const shape = [tokens, half];
  return { cos: { shape, data: cos }, sin: { shape, data: sin }, ...queryScale(rope, positions) };
}

function queryScale(rope: RopeSpec, positions: Int32Array): Pick<RotaryTables, "query_scale"> {
  const growth = queryGrowth(rope);
  if (growth === null) return {};
  const { beta, original } = growth;
  const data = Float32Array.from(positions, (p) => 1 + beta * Math.log(1 + Math.floor(p / original)));
  return { query_scale: { shape: [positions.length], data } };
}

/**
 * The causal mask of T tokens, repeated for the g heads of a group.
 * @param window - tokens a query sees, itself included; null for all
 * @returns shape [g*T, T]: 0 for visible keys, -1e30 for the others
 */
export function causalMask(tokens: number, groupSize: number, window: number | null): Tensor {
  const data = new Float32Array(groupSize * tokens * tokens);
  hideInvisible(data, { queries: tokens, before: 0, window });
  return forEveryHead(data, { rows: tokens, keys: tokens, groupSize });
}

/**
 * The causal mask of a block of queries, for all blocks of a span.
 * @returns shape [queries, before + queries] (`blockSizes`): 0 for visible keys, -1e30 for the others
 */
export function blockMask(span: AttentionSpan): Tensor {
  const { queries, before } = blockSizes(span);
  const keys = before + queries;
  const data = new Float32Array(queries * keys);
  hideInvisible(data, { queries, before, window: span.window });
  return { shape: [queries, keys], data };
}

/** Positions of the queries and keys of a block's mask, from the first key. */
export function blockPositions(span: AttentionSpan): [queries: Int32Array, keys: Int32Array] {
  const { queries, before } = blockSizes(span);
  return [
    spanPositions({ tokens: queries, offset: before }),
    spanPositions({ tokens: before + queries, offset: 0 }),
  ];
}

/** Hides keys after a query or outside its window; a row has `before` keys and then those of the queries. */
function hideInvisible(
  data: Float32Array,
  {
    queries,
    before,
    window,
  }: { readonly queries: number; readonly before: number; readonly window: number | null },
): void {
  const keys = before + queries;
  for (let query = 0; query < queries; query++) {
    const position = before + query;
    const row = data.subarray(query * keys, (query + 1) * keys);
    row.fill(INVISIBLE, 0, window === null ? 0 : Math.max(0, position - window + 1));
    row.fill(INVISIBLE, position + 1);
  }
}

/**
 * The mask of T tokens for the tokens before them, which are in the first places of a cache of P.
 * @param window - tokens a query sees, itself included; null for all
 * @returns shape [g*T, P]: 0 for visible keys, -1e30 for the others and for unused places
 */
export function cacheMask(
  { tokens, offset }: Span,
  places: number,
  { groupSize, window }: { readonly groupSize: number; readonly window: number | null },
): Tensor {
  const data = new Float32Array(groupSize * tokens * places).fill(INVISIBLE, 0, tokens * places);
  for (let t = 0; t < tokens; t++) {
    const first = window === null ? 0 : Math.max(0, offset + t - window + 1);
    if (first < offset) data.fill(0, t * places + first, t * places + offset);
  }
  return forEveryHead(data, { rows: tokens, keys: places, groupSize });
}

/**
 * The mask of a forest of T tokens, repeated for the g heads of a group: a token sees itself and its predecessors.
 * @param parents - index of the token before each one, [T]; -1 where a sequence begins
 * @param window - tokens a query sees, itself included; null for all
 * @returns shape [g*T, T]: 0 for visible keys, -1e30 for the others
 */
export function forestMask(parents: Int32Array, groupSize: number, window: number | null): Tensor {
  const tokens = parents.length;
  const data = new Float32Array(groupSize * tokens * tokens);
  data.fill(INVISIBLE, 0, tokens * tokens);
  for (let t = 0; t < tokens; t++) {
    let left = window ?? tokens;
    for (let seen = t; seen >= 0 && left > 0; seen = parents[seen]!, left--) data[t * tokens + seen] = 0;
  }
  return forEveryHead(data, { rows: tokens, keys: tokens, groupSize });
}

/** ALiBi's slopes of a layer, [g, K, 1, 1]; null without. */
export function slopeTensor({ slopes, kvGroups, groupSize }: LayerSpec): Tensor | null {
  if (slopes === undefined) return null;
  const data = Float32Array.from(
    slopes,
    (_, i) => slopes[(i % kvGroups) * groupSize + Math.floor(i / kvGroups)]!,
  );
  return { shape: [groupSize, kvGroups, 1, 1], data };
}

/**
 * Puts the distance from query to key, 0 or less, into a mask [..., T, S] where a key is visible, as ALiBi wants it:
 * the slope of a head times that is what its score gets, and times -1e30 still hides.
 * @param queries - positions of the tokens, [T]
 * @param keys - those of the keys, [S]
 */
export function withDistances({ shape, data }: Tensor, queries: Int32Array, keys: Int32Array): Tensor {
  for (let i = 0; i < data.length; i++) {
    const query = queries[Math.floor(i / keys.length) % queries.length]!;
    if (data[i] === 0) data[i] = keys[i % keys.length]! - query;
  }
  return { shape, data };
}

/** Copies the first head's rows to the other heads of the group. */
function forEveryHead(
  data: Float32Array,
  { rows, keys, groupSize }: { readonly rows: number; readonly keys: number; readonly groupSize: number },
): Tensor {
  for (let head = 1; head < groupSize; head++) data.copyWithin(head * rows * keys, 0, rows * keys);
  return { shape: [groupSize * rows, keys], data };
}
