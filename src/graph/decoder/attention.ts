/** Attention's core as a graph: scores, softmax and what they mix, at once or in blocks of queries. */
import type { ModelSpec } from "../../model/spec.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import type { Dim } from "../ir/shapes.ts";
import { capped } from "./formulas.ts";

/** Whole sequences of one length, which attention takes in blocks of queries. */
export interface AttentionSpan {
  readonly tokens: number;
  /** Tokens a query sees, itself included; null for all before it. */
  readonly window: number | null;
}

/** What attention mixes. */
export interface AttentionSources {
  /** [B, K, g, T, H] */
  readonly queries: Value;
  /** [B, K, S, H] */
  readonly keys: Value;
  readonly values: Value;
  /** Broadcasting to [B, K, g*T, S]; with a span that of a block (`blockSizes`). */
  readonly mask: Value;
  /** Others that queries see as well. */
  readonly cache?: AttentionCache | null;
}

/**
 * Keys and values of past tokens with room for more, [B, K, P, H], which are read where they are: joined to the present
 * ones they would be copied for every token.
 */
export interface AttentionCache {
  readonly keys: Value;
  readonly values: Value;
  /** Broadcasting to [B, K, g*T, P]; hides the room. */
  readonly mask: Value;
}

/** How scores are made, and the sequences that they are for, if those are known. */
export interface AttentionRule extends Pick<ModelSpec, "attentionScale" | "scoreSoftcap"> {
  readonly groupSize: number;
  readonly span?: AttentionSpan;
}

/**
 * Queries of a block at most. Scores of one block exist at a time, and keys after its last query are left out, nearly
 * half of all scores of a long sequence. Blocks of 64 and of 128 were tried and no faster than these.
 */
export const BLOCK_QUERIES = 256;

/**
 * What the mask of a block has room for: its queries, and keys from so many before the first query on. What a query
 * sees depends on how far before it a key is, so one mask serves all blocks of a span, and grows with its length alone.
 */
export function blockSizes(span: AttentionSpan): { readonly queries: number; readonly before: number } {
  const blocks = queryBlocks(span);
  return {
    queries: Math.max(...blocks.map(({ start, end }) => end - start)),
    before: Math.max(...blocks.map(({ start, firstKey }) => start - firstKey)),
  };
}

/** Blocks of about as many queries each, and the first key that one of them sees. */
function queryBlocks({ tokens, window }: AttentionSpan): readonly {
  readonly start: number;
  readonly end: number;
  readonly firstKey: number;
}[] {
  const count = Math.ceil(tokens / BLOCK_QUERIES);
  const bounds = Array.from({ length: count + 1 }, (_, index) => Math.round((index * tokens) / count));
  return bounds.slice(1).map((end, index) => {
    const start = bounds[index]!;
    return { start, end, firstKey: window === null ? 0 : Math.max(0, start - window + 1) };
  });
}

/**
 * softmax(cap(scale queries keys^T) + mask) values, [B, K, g, T, H]; with a span in blocks of queries, and with a cache
 * over its keys and values too.
 */
export function addAttention(b: GraphBuilder, sources: AttentionSources, rule: AttentionRule): Value {
  return rule.span === undefined
    ? mixed(b, sources, rule)
    : mixedInBlocks(b, sources, { ...rule, span: rule.span });
}

function mixed(
  b: GraphBuilder,
  { queries, cache, ...present }: AttentionSources,
  rule: AttentionRule,
): Value {
  const [batch, kvGroups, groupSize, tokens, headDim] = queries.shape as readonly [Dim, Dim, Dim, Dim, Dim];
  const rows = typeof tokens === "number" ? tokens * rule.groupSize : "gT";
  const stacked = b.reshape(queries, [batch, kvGroups, rows, headDim]);
  const scores = scoresOf(b, { queries: stacked, ...present }, rule);
  const output = cache
    ? mixedOfTwo(b, [
        { scores: scoresOf(b, { queries: stacked, ...cache }, rule), values: cache.values },
        { scores, values: present.values },
      ])
    : weighted(b, b.softmax(scores), present.values);
  return b.reshape(output, [batch, kvGroups, groupSize, tokens, headDim]);
}

/** cap(scale queries keys^T) + mask, for queries [B, K, g*T, H]. */
function scoresOf(
  b: GraphBuilder,
  { queries, keys, mask }: Pick<AttentionSources, "queries" | "keys" | "mask">,
  { attentionScale, scoreSoftcap }: AttentionRule,
): Value {
  const scores = b.cast(b.matmul(queries, keys, { transB: true, alpha: attentionScale }), mask.type);
  return b.add(capped(b, scores, scoreSoftcap), mask);
}

function weighted(b: GraphBuilder, weights: Value, values: Value): Value {
  return b.matmul(b.cast(weights, values.type), values);
}

/** Scores of some keys [B, K, g*T, S], and the keys' values [B, K, S, H]. */
interface Scored {
  readonly scores: Value;
  readonly values: Value;
}

/** What softmax over all keys would mix, with the sums of two parts. */
function mixedOfTwo(b: GraphBuilder, [past, present]: readonly [Scored, Scored]): Value {
  const [first, second] = [past, present].map(({ scores }) => b.reduceMax(scores, [-1])) as [Value, Value];
  const highest = b.operator("Max", [first, second], { shape: first.shape, type: first.type });
  const parts = [past, present].map(({ scores, values }) => {
    const weights = b.exp(b.sub(scores, highest));
    return { sum: b.reduceSum(weights, [-1]), output: weighted(b, weights, values) };
  }) as [{ sum: Value; output: Value }, { sum: Value; output: Value }];
  const output = b.add(parts[0].output, parts[1].output);
  return b.div(output, b.cast(b.add(parts[0].sum, parts[1].sum), output.type));
}

/** Block by block, each with the keys that it can see. */
function mixedInBlocks(
  b: GraphBuilder,
  { queries, keys, values, mask }: AttentionSources,
  rule: AttentionRule & { readonly span: AttentionSpan },
): Value {
  const { groupSize, span } = rule;
  const { before } = blockSizes(span);
  const parts = queryBlocks(span).map(({ start, end, firstKey }) => {
    const seen = { start: firstKey, end };
    const queriesOfMask = b.slice(mask, 0, { start: 0, end: end - start });
    const rows = b.slice(queriesOfMask, 1, { start: before + firstKey - start, end: before + end - start });
    const block = {
      queries: b.slice(queries, 3, { start, end }),
      keys: b.slice(keys, 2, seen),
      values: b.slice(values, 2, seen),
      mask: b.concat(new Array<Value>(groupSize).fill(rows), 0, groupSize * (end - start)),
    };
    return mixed(b, block, rule);
  });
  return b.concat(parts, 3, span.tokens);
}
