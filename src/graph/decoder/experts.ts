/**
 * FFNs of experts (`ExpertsSpec`). The output is down_proj times the neurons of all experts, each multiplied by what
 * the router gives its expert, which is 0 for those that are not the token's; or these multiply what neurons are made
 * of, which are 0 then, too, as every activation of 0 is. So units, statistics and gradients are those of any FFN.
 * There are two ways to compute it: all neurons of all tokens, in a few large products, or only those of the token's
 * experts, in products for each expert.
 */

import { CORRECTION, EXPERT_SCALES, ROUTER, ROUTER_NORM } from "../../model/expert_weights.ts";
import type { ExpertsSpec } from "../../model/experts_spec.ts";
import type { LayerSpec } from "../../model/spec.ts";
import { expertMatrices, stackedInLayer } from "../../model/stacked_experts.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { ascending, atLeast, gatherRows, largest, largestMask, scatterRows } from "../ir/operators.ts";
import { RowGroups } from "../ir/row_groups.ts";
import type { Dim } from "../ir/shapes.ts";
import type { Feeds } from "../runtime/runtime.ts";
import { type NormRule, norm } from "./formulas.ts";
import type { HalfValues } from "./layer_structure.ts";
import { type ExpertMatrix, expertFeed, type InputProjection, type WeightSupply } from "./weight_supply.ts";

/** How tokens are routed. */
export interface Routing {
  readonly experts: ExpertsSpec;
  /** 1 for the experts of each token, 0 for the others, [B, T, E]. */
  readonly mask: Value;
  /** The routing weight of each expert, 0 for those that are not the token's, [B, T, E]. */
  readonly weights: Value;
}

/** @param x - what the router reads, [B, T, C]; before its norm, if it has one of its own */
export function routing(
  b: GraphBuilder,
  x: Value,
  {
    experts,
    rule,
    weights,
  }: { readonly experts: ExpertsSpec; readonly rule: NormRule; readonly weights: WeightSupply },
): Routing {
  const { count, biased, sparseMixer, ownNorms, ownScales } = experts;
  const hiddenSize = x.shape.at(-1)!;
  const router = weights.tensor(`${ROUTER}.weight`, [count, hiddenSize]);
  const read = ownNorms ? routerInput(b, x, { rule, weight: weights.tensor(ROUTER_NORM, [hiddenSize]) }) : x;
  const unbiased = b.matmul(read, router, { transB: true });
  const products = biased ? b.add(unbiased, weights.tensor(`${ROUTER}.bias`, [count])) : unbiased;
  const picked =
    sparseMixer === undefined
      ? byScores(b, products, { experts, weights })
      : bySparseMixer(b, products, sparseMixer);
  return {
    experts,
    mask: picked.mask,
    weights: ownScales ? b.mul(picked.weights, weights.tensor(EXPERT_SCALES, [count])) : picked.weights,
  };
}

/** The experts with the largest scores, and shares of these. @param products - of the router, [B, T, E] */
function byScores(
  b: GraphBuilder,
  products: Value,
  { experts, weights }: { readonly experts: ExpertsSpec; readonly weights: WeightSupply },
): Pick<Routing, "mask" | "weights"> {
  const { count, active, groups, normalised, sigmoid, corrected, scale = 1 } = experts;
  const scores = sigmoid ? b.sigmoid(products) : b.softmax(products);
  const plain = groups === undefined ? products : scores;
  const ranks = corrected ? b.add(scores, weights.tensor(CORRECTION, [count])) : plain;
  const mask = largestMask(b, groups ? withinGroups(b, ranks, groups) : ranks, active);
  const picked = b.mul(scores, mask);
  const shares = normalised ? b.div(picked, divisorOf(b, experts, b.reduceSum(picked, [-1]))) : picked;
  return { mask, weights: scale === 1 ? shares : b.mul(shares, b.scalar(scale)) };
}

/** `sparseMixer` of `ExpertsSpec`. @param products - r, [B, T, E] */
function bySparseMixer(
  b: GraphBuilder,
  products: Value,
  tolerance: number,
): Pick<Routing, "mask" | "weights"> {
  const hidden = (mask: Value): Value => b.mul(mask, b.scalar(HIDDEN));
  const sizes = b.abs(products);
  const pick = (left: Value): readonly [Value, Value] => {
    const most = b.reduceMax(left, [-1]);
    const allowed = b.mul(b.operator("Max", [sizes, most], products), b.scalar(tolerance));
    const far = b.greater(b.sub(most, left), allowed);
    const mask = largestMask(b, left, 1);
    return [mask, b.mul(b.softmax(b.add(left, hidden(far))), mask)];
  };
  const [first, firstWeights] = pick(products);
  const [second, secondWeights] = pick(b.add(products, hidden(first)));
  return { mask: b.add(first, second), weights: b.add(firstWeights, secondWeights) };
}

/** The norm of a router, times C^-1/2. */
function routerInput(
  b: GraphBuilder,
  x: Value,
  { rule, weight }: { readonly rule: NormRule; readonly weight: Value },
): Value {
  const normed = norm(b, x, { ...rule, normOffset: 0, weight, bias: null });
  return b.mul(normed, b.scalar((x.shape.at(-1) as number) ** -0.5));
}

/** Less than any product or sum of a score and a correction. */
const HIDDEN = -1e30;

/** Ranks of experts [B, T, E], hidden in groups that none is picked from. */
function withinGroups(
  b: GraphBuilder,
  ranks: Value,
  { count, active, best }: NonNullable<ExpertsSpec["groups"]>,
): Value {
  const [batch, tokens, experts] = ranks.shape as readonly [Dim, Dim, number];
  const byGroup = b.reshape(ranks, [batch, tokens, count, experts / count]);
  const sums = b.reduceSum(largest(b, byGroup, best)[0], [-1]);
  const picked = largestMask(b, b.reshape(sums, [batch, tokens, count]), active);
  const others = b.mul(b.sub(b.scalar(1), picked), b.scalar(HIDDEN));
  return b.reshape(b.add(byGroup, b.reshape(others, [batch, tokens, count, 1])), ranks.shape);
}

/** D of `ExpertsSpec`. @param sum - of the scores of picked experts, [B, T, 1] */
function divisorOf(b: GraphBuilder, { divisor }: ExpertsSpec, sum: Value): Value {
  if (divisor === undefined) return sum;
  return "plus" in divisor ? b.add(sum, b.scalar(divisor.plus)) : atLeast(b, sum, divisor.least);
}

/** Neurons of all experts, or their inputs, [B, T, F], times the weights of their experts. */
export function weightedByExpert(b: GraphBuilder, neurons: Value, { experts, weights }: Routing): Value {
  const [batch, tokens, total] = neurons.shape as readonly [Dim, Dim, Dim];
  const { count } = experts;
  const byExpert = b.reshape(neurons, [batch, tokens, count, sizeOfPart(total, count)]);
  const weighted = b.mul(byExpert, b.reshape(weights, [batch, tokens, count, 1]));
  return b.reshape(weighted, [batch, tokens, total]);
}

/** What experts compute. */
export interface RoutedFfn extends Routing {
  /** F. */
  readonly neurons: Dim;
  /** As in `RowGroups`. */
  readonly slices: boolean;
  /** The product of rows, those of one expert after those of another, with the matrix of each. */
  product(rows: Value, matrix: ExpertMatrix, groups: RowGroups): Value;
  /** Neurons from products with the projections. */
  compute(product: (projection: InputProjection) => Value): Value;
}

/**
 * The output [B, T, C], and the neurons of each token's experts times their weights, from products of each expert with
 * its tokens alone. Rows of tokens and of their experts are `B*T*A`, A experts a token: sorted by expert for products,
 * by token for sums. An expert without a token costs nothing, since a product of no rows reads no weights.
 */
export function routedFfn(
  b: GraphBuilder,
  x: Value,
  { experts: { count, active, weighsInput }, mask, weights, neurons, slices, product, compute }: RoutedFfn,
): Pick<HalfValues, "channels" | "toTap"> & { readonly output: Value } {
  const rows = b.flatten(x);
  const [tokens, hidden] = rows.shape as readonly [Dim, Dim];
  const all = `${tokens}*${active}`;
  const chosen = b.reshape(largest(b, b.flatten(mask), active)[1], [all]);
  const byExpert = ascending(b, chosen);
  const byToken = ascending(b, byExpert);
  const perExpert = b.reshape(b.reduceSum(b.flatten(mask), [0]), [count]);
  const sizes = b.cast(perExpert, "int64");
  const expertOf = gatherRows(b, chosen, byExpert);
  const groups = new RowGroups(b, { sizes, count, rows: all, slices, groupOf: expertOf });
  const ofExperts = (matrix: ExpertMatrix, input: Value): Value => product(input, matrix, groups);

  const tokenOf = b.div(byExpert, b.integer(active));
  const places = b.add(b.mul(tokenOf, b.integer(count)), expertOf);
  const factors = b.reshape(b.flatten(weights), [`${tokens}*${count}`, 1]);
  const weighted = (values: Value): Value => b.mul(values, gatherRows(b, factors, places));
  const read = gatherRows(b, rows, tokenOf);
  const own = weighsInput ? weighted(read) : read;
  const given = compute((projection) => ofExperts(projection, own));
  const channels = weighsInput ? given : weighted(given);
  const outputs = gatherRows(b, ofExperts("down_proj", channels), byToken);
  // A product with ones, since a sum along an axis in the middle would depend on the number of threads.
  const sums = b.matmul(b.ones([1, active]), b.reshape(outputs, [tokens, active, hidden]));
  return {
    channels,
    toTap: (values) => {
      const apart = scatterRows(b, values, { places, like: factors });
      const shape = b.concat([b.sizes(x, 0, 2), b.integers([-1])], 0, 3);
      return b.operator("Reshape", [apart, shape], { shape: [...x.shape.slice(0, 2), neurons] });
    },
    output: b.unflatten(b.reshape(sums, [tokens, hidden]), x),
  };
}

/** The weights of a layer, with the matrices of each expert instead of those of all, by their names in the graph. */
export function weightsByExpert(layer: Pick<LayerSpec, "experts">, weights: Feeds): Feeds {
  const matrices = stackedInLayer(layer);
  const entries = Object.entries(weights).flatMap(([name, tensor]) => {
    const experts = matrices.get(name);
    if (experts === undefined) return [[name, tensor] as const];
    return expertMatrices(tensor as Tensor, experts).map(
      (matrix, expert) => [expertFeed(name, expert), matrix] as const,
    );
  });
  return Object.fromEntries(entries);
}

/** The size of one of equal parts. */
export function sizeOfPart(total: Dim, parts: number): Dim {
  if (parts === 1) return total;
  return typeof total === "number" ? total / parts : `${total}/${parts}`;
}
