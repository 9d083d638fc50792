/** The router of an FFN of experts (`ExpertsSpec`). */
import type { ExpertsSpec } from "../../model/spec.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import { largestMask } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";

/** What routes tokens to experts. */
interface Routing {
  readonly experts: ExpertsSpec;
  /** Products of the router, [B, T, E]. */
  readonly scores: Value;
}

/**
 * Neurons [B, T, F], those of every expert times its number: the softmax of its score, perhaps as a share of those of
 * the token's experts, and 0 for all other experts. So the FFN's output is one product, and units, statistics and
 * gradients are those of any FFN.
 */
export function routedNeurons(b: GraphBuilder, neurons: Value, { experts, scores }: Routing): Value {
  const [batch, tokens, total] = neurons.shape as readonly [Dim, Dim, Dim];
  const { count, active, normalised } = experts;
  const picked = b.mul(b.softmax(scores), largestMask(b, scores, active));
  const weights = normalised ? b.div(picked, b.reduceSum(picked, [-1])) : picked;
  const byExpert = b.reshape(neurons, [batch, tokens, count, sizeOfPart(total, count)]);
  const weighted = b.mul(byExpert, b.reshape(weights, [batch, tokens, count, 1]));
  return b.reshape(weighted, [batch, tokens, total]);
}

/** The size of one of equal parts. */
export function sizeOfPart(total: Dim, parts: number): Dim {
  return typeof total === "number" ? total / parts : `${total}/${parts}`;
}
