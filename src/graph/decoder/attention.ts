/** Scaled dot-product attention as a graph, for all queries at once or in blocks of queries. */
import type { ModelSpec } from "../../model/spec.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { type Dim, plus } from "../ir/shapes.ts";
import { capped } from "./formulas.ts";

/** Whole sequences of one length, for which attention goes in blocks of queries. */
export interface AttentionSpan {
  readonly tokens: number;
  /** Tokens a query sees, itself included; null for all before it. */
  readonly window: number | null;
}

/** Operands of attention. */
export interface AttentionSources {
  /** [B, K, g, T, H] */
  readonly queries: Value;
  /** [B, K, S, H] */
  readonly keys: Value;
  /** [B, K, S, V], usually V = H. */
  readonly values: Value;
  /** Broadcasting to [B, K, g*T, S]; with a span the mask of one block (`blockSizes`), with slopes that of one head. */
  readonly mask: Value;
  /** ALiBi's slopes, [g, K, 1, 1], by which masks are multiplied; none when absent. */
  readonly slopes?: Value | null;
  /** Logits of attention sinks, [K, g], which take part in the softmax of their query head; none when absent. */
  readonly sinks?: Value | null;
  /** Past keys and values that queries see as well. */
  readonly cache?: AttentionCache | null;
}

/**
 * Preallocated keys and values of past tokens, [B, K, P, H], read in place: joining them to the present ones would copy
 * them for every token.
 */
export interface AttentionCache {
  readonly keys: Value;
  readonly values: Value;
  /** Broadcasting to [B, K, g*T, P]; hides unused places. */
  readonly mask: Value;
}

/** Scale and cap of the scores, heads per group, and the span of the sequences if it is fixed. */
export interface AttentionRule extends Pick<ModelSpec, "attentionScale" | "scoreSoftcap"> {
  readonly groupSize: number;
  readonly span?: AttentionSpan;
}

/**
 * Largest number of queries in a block. The scores of one block exist at a time, and keys after its last query are left
 * out, which saves nearly half of all scores of a long sequence. Blocks of 64 and of 128 were no faster.
 */
export const BLOCK_QUERIES = 256;

/**
 * Sizes of the mask of a block: `queries`, and the number of keys `before` the first of them. Which keys a query sees
 * depends on their distance alone, so one mask serves all blocks of a span, and its size is linear in the tokens.
 */
export function blockSizes(span: AttentionSpan): { readonly queries: number; readonly before: number } {
  const blocks = queryBlocks(span);
  return {
    queries: Math.max(...blocks.map(({ start, end }) => end - start)),
    before: Math.max(...blocks.map(({ start, firstKey }) => start - firstKey)),
  };
}

/** Blocks of about equal numbers of queries, each with the first key that one of its queries sees. */
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
 * softmax(cap(scale queries keys^T) + mask) values, [B, K, g, T, V]; with a span in blocks of queries, and with a cache
 * over its keys and values too. With sinks, weights are those of a softmax over one score more.
 */
export function addAttention(b: GraphBuilder, sources: AttentionSources, rule: AttentionRule): Value {
  return rule.span === undefined
    ? attend(b, sources, rule)
    : attendInBlocks(b, sources, { ...rule, span: rule.span });
}

function attend(
  b: GraphBuilder,
  { queries, cache, slopes = null, sinks = null, ...present }: AttentionSources,
  rule: AttentionRule,
): Value {
  const [batch, kvGroups, groupSize, tokens, headDim] = queries.shape as readonly [Dim, Dim, Dim, Dim, Dim];
  const rows =
    typeof tokens === "number" ? tokens * rule.groupSize : rowsOf(tokens, slopes && rule.groupSize);
  const stacked = b.reshape(queries, [batch, kvGroups, rows, headDim]);
  const scores = scoresOf(b, { queries: stacked, slopes, ...present }, rule);
  const sink = sinks && b.reshape(sinkScores(b, sinks, queries), [batch, kvGroups, rows, 1]);
  const output = cache
    ? attendToTwo(
        b,
        [
          { scores: scoresOf(b, { queries: stacked, slopes, ...cache }, rule), values: cache.values },
          { scores, values: present.values },
        ],
        sink,
      )
    : attendToOne(b, { scores, values: present.values }, sink);
  return b.reshape(output, [batch, kvGroups, groupSize, tokens, present.values.shape[3]!]);
}

/** The name of g*T: an input's where masks have that many rows, which they do not with slopes. */
function rowsOf(tokens: string, slopedHeads: number | null): Dim {
  return slopedHeads === null ? "gT" : `${slopedHeads}*${tokens}`;
}

/** cap(scale queries keys^T) + mask, for queries [B, K, g*T, H]. */
function scoresOf(
  b: GraphBuilder,
  { queries, keys, mask, slopes }: Pick<AttentionSources, "queries" | "keys" | "mask" | "slopes">,
  { attentionScale, scoreSoftcap, groupSize }: AttentionRule,
): Value {
  const scores = b.cast(b.matmul(queries, keys, { transB: true, alpha: attentionScale }), mask.type);
  const bias = slopes ? sloped(b, mask, { slopes, groupSize, rows: scores.shape[2]! }) : mask;
  return b.add(capped(b, scores, scoreSoftcap), bias);
}

/** The mask of a head [..., T, S] times the slope of each, [..., K, g*T, S]. @param rows - g*T */
function sloped(
  b: GraphBuilder,
  mask: Value,
  { slopes, groupSize, rows }: { readonly slopes: Value; readonly groupSize: number; readonly rows: Dim },
): Value {
  const heads = Array.from({ length: groupSize }, (_, head) =>
    b.mul(b.slice(slopes, 0, { start: head, end: head + 1 }), mask),
  );
  return heads.length === 1 ? b.reshape(heads[0]!, heads[0]!.shape.with(2, rows)) : b.concat(heads, 2, rows);
}

/** The sink of each query, [B, K, g, T, 1]. @param queries - [B, K, g, T, H] */
function sinkScores(b: GraphBuilder, sinks: Value, queries: Value): Value {
  const ofEach = b.cast(b.slice(queries, 4, { start: 0, end: 1 }), "float32");
  return b.mul(b.expandLike(b.scalar(1), ofEach), b.reshape(sinks, [...sinks.shape, 1, 1]));
}

function weightedValues(b: GraphBuilder, weights: Value, values: Value): Value {
  return b.matmul(b.cast(weights, values.type), values);
}

/** Scores of some keys [B, K, g*T, S], and the keys' values [B, K, S, H]. */
interface ScoredValues {
  readonly scores: Value;
  readonly values: Value;
}

/** @param sink - a logit more for each query, [B, K, g*T, 1], whose value is 0; null for none */
function attendToOne(b: GraphBuilder, { scores, values }: ScoredValues, sink: Value | null): Value {
  if (sink === null) return weightedValues(b, b.softmax(scores), values);
  const size = plus(scores.shape[3]!, 1);
  const weights = b.softmax(b.concat([scores, sink], 3, size));
  return weightedValues(b, weights, b.pad(values, 2, { before: 0, after: 1, size }));
}

/** Attention to the keys of two parts as if they were joined: one maximum, and sums of both parts added up. */
function attendToTwo(
  b: GraphBuilder,
  [past, present]: readonly [ScoredValues, ScoredValues],
  sink: Value | null,
): Value {
  const [first, second] = [past, present].map(({ scores }) => b.reduceMax(scores, [-1])) as [Value, Value];
  const each = [first, second, ...(sink === null ? [] : [sink])];
  const highest = b.operator("Max", each, { shape: first.shape, type: first.type });
  const parts = [past, present].map(({ scores, values }) => {
    const weights = b.exp(b.sub(scores, highest));
    return { sum: b.reduceSum(weights, [-1]), output: weightedValues(b, weights, values) };
  }) as [{ sum: Value; output: Value }, { sum: Value; output: Value }];
  const output = b.add(parts[0].output, parts[1].output);
  const sum = b.add(parts[0].sum, parts[1].sum);
  const whole = sink === null ? sum : b.add(sum, b.exp(b.sub(sink, highest)));
  return b.div(output, b.cast(whole, output.type));
}

/** Attention block by block, each with the keys that its queries can see. */
function attendInBlocks(
  b: GraphBuilder,
  { queries, keys, values, mask, slopes = null, sinks = null }: AttentionSources,
  rule: AttentionRule & { readonly span: AttentionSpan },
): Value {
  const { groupSize, span } = rule;
  const { before } = blockSizes(span);
  const parts = queryBlocks(span).map(({ start, end, firstKey }) => {
    const visible = { start: firstKey, end };
    const maskRows = b.slice(mask, 0, { start: 0, end: end - start });
    const headMask = b.slice(maskRows, 1, { start: before + firstKey - start, end: before + end - start });
    const block = {
      queries: b.slice(queries, 3, { start, end }),
      keys: b.slice(keys, 2, visible),
      values: b.slice(values, 2, visible),
      mask: slopes
        ? headMask
        : b.concat(new Array<Value>(groupSize).fill(headMask), 0, groupSize * (end - start)),
      slopes,
      sinks,
    };
    return attend(b, block, rule);
  });
  return b.concat(parts, 3, span.tokens);
}
