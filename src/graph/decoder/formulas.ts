/** Functions that layers and heads are made of, in operators that have a derivative. */
import type { Activation, ModelSpec } from "../../model/spec.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { atMost, clip, erf, relu, softplus } from "../ir/operators.ts";

/** What the norms of a model have in common. */
export type NormRule = Pick<ModelSpec, "normType" | "normEps" | "normOffset" | "normParameters">;

/**
 * x / sqrt(mean(x^2) + eps) * (offset + weight) + bias over the last axis, in float32 (RMSNorm, arXiv 1910.07467); of
 * x - mean(x) for LayerNorm (arXiv 1607.06450).
 * @param parameters - null for those that the norm lacks
 */
export function norm(
  b: GraphBuilder,
  input: Value,
  { weight, bias, ...rule }: NormRule & Readonly<Record<"weight" | "bias", Value | null>>,
): Value {
  const x = rule.normType === "layer" ? centred(b, b.cast(input, "float32")) : b.cast(input, "float32");
  const meanSquare = b.reduceMean(b.mul(x, x), [-1]);
  const normed = b.div(x, b.sqrt(b.add(meanSquare, b.scalar(rule.normEps))));
  const factor = rule.normOffset === 1 && weight !== null ? b.add(weight, b.scalar(1)) : weight;
  const scaled = factor === null ? normed : b.mul(normed, factor);
  return bias === null ? scaled : b.add(scaled, bias);
}

/** Added to squared lengths before their roots are taken (`l2norm` of modeling_qwen3_5.py). */
const LENGTH_EPS = 1e-6;

/** x / sqrt(sum(x^2) + eps) over the last axis. */
export function unitLength(b: GraphBuilder, x: Value): Value {
  const square = b.reduceSum(b.mul(x, x), [-1]);
  return b.div(x, b.sqrt(b.add(square, b.scalar(LENGTH_EPS))));
}

/** x less its mean over the last axis. */
function centred(b: GraphBuilder, x: Value): Value {
  return b.sub(x, b.reduceMean(x, [-1]));
}

/** c * tanh(x / c) for a cap c; x itself without one. */
export function capped(b: GraphBuilder, x: Value, softcap: number | null): Value {
  if (softcap === null) return x;
  const cap = b.scalar(softcap, x.type);
  return b.mul(b.tanh(b.div(x, cap)), cap);
}

/** A function of neurons. @param parameterOf - gives the activation's parameters by name */
type NeuronFunction = (b: GraphBuilder, x: Value, parameterOf: (name: string) => Value) => Value;

/** The functions of neurons. */
export const ACTIVATIONS: Readonly<Record<Activation, NeuronFunction>> = {
  silu,
  gelu,
  gelu_tanh: geluTanh,
  relu,
  relu2: (b, x) => {
    const positive = relu(b, x);
    return b.mul(positive, positive);
  },
  xielu,
  clamped_swiglu: (b, x) => {
    const gate = atMost(b, x, CLAMP);
    return b.mul(gate, b.sigmoid(b.mul(gate, b.scalar(CLAMPED_SLOPE))));
  },
};

/** `swiglu_alpha` and `swiglu_limit` of configuration_gpt_oss.py. */
const CLAMPED_SLOPE = 1.702;
const CLAMP = 7;

/** What gates are multiplied by, from what up_proj gives, where it is not that itself (modeling_gpt_oss.py). */
const GATED_FACTORS: Readonly<Partial<Record<Activation, (b: GraphBuilder, up: Value) => Value>>> = {
  clamped_swiglu: (b, up) => b.add(clip(b, up, CLAMP), b.scalar(1)),
};

/** What the gates of an activation are multiplied by. @param up - what up_proj gives */
export function gatedFactor(b: GraphBuilder, up: Value, activation: Activation): Value {
  return GATED_FACTORS[activation]?.(b, up) ?? up;
}

/** x sigmoid(x) (arXiv 1702.03118). */
export function silu(b: GraphBuilder, x: Value): Value {
  return b.mul(x, b.sigmoid(x));
}

/**
 * xIELU (arXiv 2411.13010), as `XIELUActivation` of transformers has it, where p and n are learned:
 *
 *   beta x + softplus(p) x^2                                   for x > 0
 *   beta x + (beta + softplus(n)) (e^min(x, eps) - 1 - x)      otherwise
 */
function xielu(b: GraphBuilder, x: Value, parameterOf: (name: string) => Value): Value {
  const [beta, eps] = [parameterOf("beta"), parameterOf("eps")];
  const positive = relu(b, x);
  const square = b.mul(b.mul(positive, positive), softplus(b, parameterOf("alpha_p")));
  const least = b.sub(eps, relu(b, b.sub(eps, x)));
  // e^y - 1 without cancellation near 0.
  const rise = b.mul(b.tanh(b.mul(least, b.scalar(0.5))), b.add(b.exp(least), b.scalar(1)));
  const isNegative = b.sub(b.scalar(1), b.greater(x, b.scalar(0)));
  const slope = b.add(beta, softplus(b, parameterOf("alpha_n")));
  const curve = b.mul(b.mul(b.sub(rise, x), isNegative), slope);
  return b.add(b.add(square, curve), b.mul(beta, x));
}

/** GELU (arXiv 1606.08415): x/2 * (1 + erf(x / sqrt(2))). */
function gelu(b: GraphBuilder, x: Value): Value {
  const scalar = (number: number): Value => b.scalar(number, x.type);
  return b.mul(b.mul(x, scalar(0.5)), b.add(erf(b, b.mul(x, scalar(Math.SQRT1_2))), scalar(1)));
}

/** The tanh approximation of GELU (arXiv 1606.08415): x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). */
function geluTanh(b: GraphBuilder, x: Value): Value {
  const scalar = (number: number): Value => b.scalar(number, x.type);
  const cube = b.mul(b.mul(x, x), x);
  const inner = b.mul(b.add(x, b.mul(cube, scalar(0.044715))), scalar(Math.sqrt(2 / Math.PI)));
  return b.mul(b.mul(x, scalar(0.5)), b.add(b.tanh(inner), scalar(1)));
}

/** Cosines and sines of the rotation angles, float32, broadcasting to [B, T, 1, rotaryDim / 2]. */
export interface RotaryAngles {
  readonly cos: Value;
  readonly sin: Value;
  /** Factors of the queries, broadcasting to [B, T, 1, 1]; null where they have none. */
  readonly queryScale: Value | null;
}

/** Rotates channel pairs (i, i + R/2) of the first R channels of the last axis by the token's angles: [B, T, N, H]. */
export function rotate(b: GraphBuilder, x: Value, angles: RotaryAngles | null): Value {
  if (angles === null) return x;
  const axis = x.shape.length - 1;
  const [headDim, half] = [x.shape[axis], angles.cos.shape.at(-1)] as readonly [number, number];
  const [cos, sin] = [b.cast(angles.cos, x.type), b.cast(angles.sin, x.type)];
  const first = b.slice(x, axis, { start: 0, end: half });
  const second = b.slice(x, axis, { start: half, end: 2 * half });
  const rotated = [
    b.sub(b.mul(first, cos), b.mul(second, sin)),
    b.add(b.mul(second, cos), b.mul(first, sin)),
  ];
  const unrotated = 2 * half < headDim ? [b.slice(x, axis, { start: 2 * half, end: headDim })] : [];
  return b.concat([...rotated, ...unrotated], axis, headDim);
}

/** Scales queries [B, T, N, H] where they grow with their position. */
export function grow(b: GraphBuilder, queries: Value, angles: RotaryAngles | null): Value {
  const scale = angles?.queryScale ?? null;
  return scale === null ? queries : b.mul(queries, b.cast(scale, queries.type));
}
