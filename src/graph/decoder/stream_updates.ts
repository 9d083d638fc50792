/**
 * Streams of a token between layers, and what a layer does with them before and after its blocks (alternating updates,
 * see model/stream_updates.ts). In the graph they are one behind another, [B, T, S * C]; the first layer makes them of
 * the embedding, the last one joins them.
 */
import { internalError } from "../../errors.ts";
import type { LayerMatrix } from "../../model/projections.ts";
import { STREAMS_IN, STREAMS_OUT, UPDATES } from "../../model/stream_updates.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { atLeast } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import { norm } from "./formulas.ts";
import type { LayerOperators } from "./layer_operators.ts";
import type { LayerUpdates } from "./layer_structure.ts";

/** What a layer predicts of its streams. */
export interface Predictions {
  /** [B, T, S, C] */
  readonly all: Value;
  /** The first, which its blocks read, [B, T, C]. */
  readonly active: Value;
  readonly router: Router;
}

/** What coefficients are multiplied by: tanh(product with norm(x) / C), from x [B, T, C], [B, T, S]. */
type Router = (x: Value) => Value;

/** The least mean square of a stream that another's size is given to. */
const LEAST_SQUARE = 1e-5;

/**
 * P_j = h_j + sum over i of R_ji h_i, where R [S, S] are coefficients times what the router makes of h_0.
 * @param input - [B, T, C] in the first layer, [B, T, S * C] in others
 */
export function predictions(layer: LayerOperators, input: Value): Predictions {
  const { b, structure, weights } = layer;
  const { streams, isFirst } = requireUpdates(layer);
  const [batch, tokens] = input.shape as readonly [Dim, Dim, Dim];
  const before = isFirst ? streamsOf(layer, input) : input;
  const hidden = b.reshape(before, [batch, tokens, streams, structure.hiddenSize]);
  const router = routerOf(layer);
  const routed = router(isFirst ? input : stream(b, hidden, 0));
  const products = b.matmul(
    routed,
    weights.tensor(`${UPDATES.predictions}.weight`, [streams ** 2, streams]),
    {
      transB: true,
    },
  );
  const coefficients = b.reshape(products, [batch, tokens, streams, streams]);
  const all = b.add(b.matmul(coefficients, hidden), hidden);
  return { all, active: stream(b, all, 0), router };
}

/**
 * h_j = P_j + (1 + c_j) (a - P_0), where a is what the blocks made of P_0 and c are coefficients times what the router
 * makes of a; then streams but the first get what the layer's own input adds.
 * @param added - what the own input gives, from h_0 times the layer's factors, both [B, T, C]
 * @returns [B, T, C] in the last layer, [B, T, S * C] in others
 */
export function corrected(
  layer: LayerOperators,
  { all, active, router }: Predictions,
  { activated, added }: { readonly activated: Value; readonly added: (gating: Value) => Value },
): Value {
  const { b, structure, weights } = layer;
  const { streams, isLast } = requireUpdates(layer);
  const { hiddenSize } = structure;
  const [batch, tokens] = activated.shape as readonly [Dim, Dim, Dim];
  const row = (x: Value): Value => b.reshape(x, [batch, tokens, 1, hiddenSize]);
  const products = b.matmul(
    router(activated),
    weights.tensor(`${UPDATES.corrections}.weight`, [streams, streams]),
    {
      transB: true,
    },
  );
  const coefficients = b.reshape(b.add(products, b.scalar(1)), [batch, tokens, streams, 1]);
  const hidden = b.add(b.mul(coefficients, row(b.sub(activated, active))), all);
  const gating = b.mul(stream(b, hidden, 0), weights.tensor(UPDATES.outputScale, [hiddenSize]));
  const first = b.slice(hidden, 2, { start: 0, end: 1 });
  const others = b.add(b.slice(hidden, 2, { start: 1, end: streams }), row(added(gating)));
  const output = b.concat([first, others], 2, streams);
  return isLast ? joined(layer, output) : b.reshape(output, [batch, tokens, streams * hiddenSize]);
}

/** (stream + read + norm of two products of it) / sqrt(2). @param read - what attention reads, [B, T, C] */
export function withLearnedResidual(
  layer: LayerOperators,
  { stream: attended, read }: { readonly stream: Value; readonly read: Value },
): Value {
  const { b, structure } = layer;
  const { residualRank } = requireUpdates(layer);
  const inner = layer.linear(read, UPDATES.residualIn, residualRank);
  const outer = layer.linear(inner, UPDATES.residualOut, structure.hiddenSize);
  const residual = b.add(read, layer.blockNorm(outer, UPDATES.residualNorm));
  return b.mul(b.add(attended, residual), b.scalar(Math.SQRT1_2));
}

/** Reads its weights once, though two values go through it. */
function routerOf(layer: LayerOperators): Router {
  const { b, structure, weights } = layer;
  const { hiddenSize } = structure;
  const weight = weights.tensor(`${UPDATES.routerNorm}.weight`, [hiddenSize]);
  const router = weights.tensor(`${UPDATES.router}.weight`, [requireUpdates(layer).streams, hiddenSize]);
  return (x) => {
    const normed = norm(b, x, { ...structure, weight, bias: null });
    return b.tanh(b.matmul(b.mul(normed, b.scalar(1 / hiddenSize)), router, { transB: true }));
  };
}

/** The embedding and its projections in its size, [B, T, S * C]. */
function streamsOf(layer: LayerOperators, embedded: Value): Value {
  const { b, structure } = layer;
  const { streams } = requireUpdates(layer);
  const others = STREAMS_IN.slice(0, streams - 1).map((matrix) =>
    sized(layer, embedded, { matrix, like: embedded }),
  );
  return b.concat([embedded, ...others], 2, streams * structure.hiddenSize);
}

/** The mean of the first stream and of projections of the others in its size, [B, T, C]. */
function joined(layer: LayerOperators, hidden: Value): Value {
  const { b } = layer;
  const { streams } = requireUpdates(layer);
  const first = stream(b, hidden, 0);
  const sum = STREAMS_OUT.slice(0, streams - 1).reduce(
    (total, matrix, index) =>
      b.add(total, sized(layer, stream(b, hidden, index + 1), { matrix, like: first })),
    first,
  );
  return b.mul(sum, b.scalar(1 / streams));
}

/** The product of x with a matrix, with the root mean square of another value. */
function sized(
  layer: LayerOperators,
  x: Value,
  { matrix, like }: { readonly matrix: LayerMatrix; readonly like: Value },
): Value {
  const { b, structure } = layer;
  const product = b.cast(layer.linear(x, matrix, structure.hiddenSize), "float32");
  const meanSquare = (value: Value): Value => b.reduceMean(b.mul(value, value), [-1]);
  const own = b.sqrt(atLeast(b, meanSquare(product), LEAST_SQUARE));
  return b.mul(product, b.div(b.sqrt(meanSquare(like)), own));
}

/** One of the streams [B, T, S, C], [B, T, C]. */
function stream(b: GraphBuilder, hidden: Value, index: number): Value {
  const [batch, tokens, , size] = hidden.shape as readonly [Dim, Dim, Dim, Dim];
  return b.reshape(b.slice(hidden, 2, { start: index, end: index + 1 }), [batch, tokens, size]);
}

function requireUpdates({ structure: { updates } }: LayerOperators): LayerUpdates {
  if (updates !== undefined) return updates;
  throw internalError("streams in a layer without any");
}
