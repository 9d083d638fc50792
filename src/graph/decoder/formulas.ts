/** Functions that layers and heads are made of, in operators that have a derivative. */
import type { ModelSpec } from "../../model/spec.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";

/** x / sqrt(mean(x^2) + eps) * (offset + weight) over the last axis, in float32 (arXiv 1910.07467). */
export function rmsNorm(
  b: GraphBuilder,
  input: Value,
  norm: Pick<ModelSpec, "normEps" | "normOffset"> & { readonly weight: Value },
): Value {
  const x = b.cast(input, "float32");
  const meanSquare = b.reduceMean(b.mul(x, x), [-1]);
  const normed = b.div(x, b.sqrt(b.add(meanSquare, b.scalar(norm.normEps))));
  return b.mul(normed, norm.normOffset === 1 ? b.add(norm.weight, b.scalar(1)) : norm.weight);
}

/** c * tanh(x / c) for a cap c; x itself without one. */
export function capped(b: GraphBuilder, x: Value, softcap: number | null): Value {
  if (softcap === null) return x;
  const cap = b.scalar(softcap, x.type);
  return b.mul(b.tanh(b.div(x, cap)), cap);
}

/** The tanh approximation of GELU (arXiv 1606.08415): x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). */
export function gelu(b: GraphBuilder, x: Value): Value {
  const scalar = (number: number): Value => b.scalar(number, x.type);
  const cube = b.mul(b.mul(x, x), x);
  const inner = b.mul(b.add(x, b.mul(cube, scalar(0.044715))), scalar(Math.sqrt(2 / Math.PI)));
  return b.mul(b.mul(x, scalar(0.5)), b.add(b.tanh(inner), scalar(1)));
}
