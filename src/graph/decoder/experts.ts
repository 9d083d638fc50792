/**
 * FFNs of experts (`ExpertsSpec`). The output is down_proj times the neurons of all experts, each multiplied by what
 * the router gives its expert, which is 0 for those that are not the token's. So units, statistics and gradients are
 * those of any FFN. There are two ways to compute it: all neurons of all tokens, in a few large products, or only those of
 * the token's experts, in products for each expert.
 */
import { getOrMake } from "../../base/map_values.ts";
import type { ExpertsSpec, LayerSpec } from "../../model/spec.ts";
import { inputProjections, moduleOf } from "../../model/weights.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import { atLeast, gatherRows, largestMask, nonZeroRows, scatterRows } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import type { ExpertsAlong } from "../runtime/finite.ts";

/** How tokens are routed. */
export interface Routing {
  readonly experts: ExpertsSpec;
  /** 1 for the experts of each token, 0 for the others, [B, T, E]. */
  readonly mask: Value;
  /** What multiplies the neurons of each expert, 0 for those that are not the token's, [B, T, E]. */
  readonly weights: Value;
}

/**
 * @param products - of the router, [B, T, E]
 * @param correction - what is added to scores where experts are picked, [E]; null for nothing
 */
export function routing(
  b: GraphBuilder,
  experts: ExpertsSpec,
  { products, correction }: { readonly products: Value; readonly correction: Value | null },
): Routing {
  const { active, normalised, sigmoid, scale = 1 } = experts;
  const scores = sigmoid ? b.sigmoid(products) : b.softmax(products);
  const mask = largestMask(b, correction === null ? products : b.add(scores, correction), active);
  const picked = b.mul(scores, mask);
  const shares = normalised ? b.div(picked, divisorOf(b, experts, b.reduceSum(picked, [-1]))) : picked;
  return { experts, mask, weights: scale === 1 ? shares : b.mul(shares, b.scalar(scale)) };
}

/** What the numbers of picked experts are divided by. @param sum - of these, [B, T, 1] */
function divisorOf(b: GraphBuilder, { divisor }: ExpertsSpec, sum: Value): Value {
  if (divisor === undefined) return sum;
  return "plus" in divisor ? b.add(sum, b.scalar(divisor.plus)) : atLeast(b, sum, divisor.least);
}

/** All neurons [B, T, F] times the weights of their experts. */
export function weightedNeurons(b: GraphBuilder, neurons: Value, { experts, weights }: Routing): Value {
  const [batch, tokens, total] = neurons.shape as readonly [Dim, Dim, Dim];
  const { count } = experts;
  const byExpert = b.reshape(neurons, [batch, tokens, count, sizeOfPart(total, count)]);
  const weighted = b.mul(byExpert, b.reshape(weights, [batch, tokens, count, 1]));
  return b.reshape(weighted, [batch, tokens, total]);
}

/** Projections that write neurons. */
type InputProjection = "gate_proj" | "up_proj";

/** Matrices of all experts, and what neurons compute. */
export interface RoutedFfn extends Routing {
  /** F. */
  readonly neurons: Dim;
  /** [F, C], or [C, F] of down_proj. */
  matrix(projection: InputProjection | "down_proj"): Value;
  /** Neurons from products with the projections. */
  compute(product: (projection: InputProjection) => Value): Value;
}

/**
 * The neurons [B, T, F] times the weights of their experts, and the output [B, T, C], from products of each expert with
 * its tokens alone. `R` is the number of tokens of one expert.
 */
export function routedFfn(
  b: GraphBuilder,
  x: Value,
  { experts, mask, weights, neurons: total, matrix, compute }: RoutedFfn,
): { readonly tap: Value; readonly output: Value } {
  const { count } = experts;
  const hidden = x.shape.at(-1)!;
  const size = sizeOfPart(total, count);
  const [rows, picked, factors] = [b.flatten(x), b.flatten(mask), b.flatten(weights)];
  const routes = Array.from({ length: count }, (_, expert) => nonZeroRows(b, column(b, picked, expert)));
  const inputs = new Map<InputProjection, Value>();
  const matricesOf = (projection: InputProjection): Value =>
    getOrMake(inputs, projection, () => b.reshape(matrix(projection), [count, size, hidden]));
  const neurons = routes.map((places, expert) => {
    const own = gatherRows(b, rows, places);
    const active = compute((projection) => {
      const ofExpert = b.reshape(b.slice(matricesOf(projection), 0, one(expert)), [size, hidden]);
      return b.matmul(own, ofExpert, { transB: true });
    });
    const weighted = b.mul(active, gatherRows(b, column(b, factors, expert), places));
    return b.reshape(scatterRows(b, weighted, { places, like: rows }), [rows.shape[0]!, 1, size]);
  });
  const tap = b.unflatten(b.reshape(b.concat(neurons, 1, count), [rows.shape[0]!, total]), x);
  const byExpert = b.reshape(b.flatten(tap), [rows.shape[0]!, count, size]);
  const outputMatrices = b.reshape(matrix("down_proj"), [hidden, count, size]);
  const outputs = routes.map((places, expert) => {
    const own = b.reshape(b.slice(byExpert, 1, one(expert)), [rows.shape[0]!, size]);
    const ofExpert = b.reshape(b.slice(outputMatrices, 1, one(expert)), [hidden, size]);
    const product = b.matmul(gatherRows(b, own, places), ofExpert, { transB: true });
    return scatterRows(b, product, { places, like: rows });
  });
  const output = outputs.reduce((sum, value) => b.add(sum, value));
  return { tap, output: b.unflatten(output, x) };
}

/** Where a weight of a layer has its experts, by its name in the graph; null for weights that have none. */
export function expertsAlong(layer: LayerSpec, feed: string): ExpertsAlong | null {
  if (layer.experts === undefined) return null;
  const { count } = layer.experts;
  if (feed === `${moduleOf("down_proj")}.weight`) return { axis: 1, count };
  const inputs = inputProjections({ gated: true }, layer, "ffn");
  return inputs.some((input) => feed === `${moduleOf(input)}.weight`) ? { axis: 0, count } : null;
}

function column(b: GraphBuilder, matrix: Value, index: number): Value {
  return b.slice(matrix, 1, one(index));
}

function one(index: number): { readonly start: number; readonly end: number } {
  return { start: index, end: index + 1 };
}

/** The size of one of equal parts. */
export function sizeOfPart(total: Dim, parts: number): Dim {
  if (parts === 1) return total;
  return typeof total === "number" ? total / parts : `${total}/${parts}`;
}
