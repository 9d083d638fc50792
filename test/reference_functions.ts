/** The functions of the decoder in plain float64 JavaScript (reference_decoder.ts), and the tensors they read. */

import type { RopeSpec } from "../src/model/rope_spec.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { erf } from "./numbers.ts";

export type Row = readonly number[];
/** One row per token. */
export type Rows = readonly Row[];
export type Weights = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly data: ArrayLike<number> }
>;

/** What gates are multiplied by. */
export function gatedFactor(up: number, activation: ModelSpec["activation"]): number {
  return activation === "clamped_swiglu" ? Math.max(-7, Math.min(7, up)) + 1 : up;
}

type NeuronFunction = (x: number, numberOf: (name: string) => number) => number;

export const ACTIVATIONS: Readonly<Record<ModelSpec["activation"], NeuronFunction>> = {
  silu,
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  relu: (x) => Math.max(x, 0),
  relu2: (x) => Math.max(x, 0) ** 2,
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  clamped_swiglu: (x) => Math.min(x, 7) * sigmoid(1.702 * Math.min(x, 7)),
  xielu: (x, numberOf) => {
    const beta = numberOf("beta");
    if (x > 0) return softplus(numberOf("alpha_p")) * x * x + beta * x;
    return (Math.expm1(Math.min(x, numberOf("eps"))) - x) * (beta + softplus(numberOf("alpha_n"))) + beta * x;
  },
};

/** x / sqrt(mean(x^2) + eps) * (offset + weight) + bias, where LayerNorm first takes the mean off x */
export function norm(
  row: Row,
  { weight, bias }: Readonly<Record<"weight" | "bias", Row | null>>,
  { normType, normEps, normOffset }: ModelSpec,
): Row {
  const mean = normType === "layer" ? row.reduce((sum, x) => sum + x, 0) / row.length : 0;
  const centred = row.map((x) => x - mean);
  const root = Math.sqrt(dot(centred, centred) / row.length + normEps);
  return centred.map(
    (x, i) => (x / root) * (weight === null ? 1 : normOffset + weight[i]!) + (bias?.[i] ?? 0),
  );
}

/** Rotates the pairs (i, i + R/2) of the first R channels of a head by position * frequency_i. */
export function rotate(head: Row, position: number, rope: RopeSpec | null): Row {
  if (rope === null) return head;
  const { theta, rotaryDim, scaling } = rope;
  if (scaling !== null && scaling.type !== "linear" && scaling.type !== "proportional")
    throw new Error("not in the reference");
  const turning = scaling?.type === "proportional" ? scaling.pairs : rotaryDim / 2;
  const half = rotaryDim / 2;
  const turned = [...head];
  for (let i = 0; i < turning; i++) {
    const angle = (position / (scaling?.factor ?? 1)) * theta ** ((-2 * i) / rotaryDim);
    const [a, b] = [head[i]!, head[i + half]!];
    turned[i] = a * Math.cos(angle) - b * Math.sin(angle);
    turned[i + half] = b * Math.cos(angle) + a * Math.sin(angle);
  }
  return turned;
}

export function softcap(row: Row, cap: number | null): Row {
  return cap === null ? row : row.map((x) => cap * Math.tanh(x / cap));
}

export function crossEntropy(logits: Rows, ids: Row): number {
  const losses = ids.slice(1).map((next, t) => -Math.log(softmax(logits[t]!)[next]!));
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

export function softmax(row: Row): Row {
  const largest = Math.max(...row);
  const powers = row.map((x) => Math.exp(x - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** W x */
export function linear(row: Row, weight: Rows): Row {
  return weight.map((weights) => dot(row, weights));
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

export function softplus(x: number): number {
  return Math.log1p(Math.exp(x));
}

export function silu(x: number): number {
  return x * sigmoid(x);
}

/** A row of length 1, but for what keeps its inverse finite. */
export function unit(row: Row): Row {
  const length = Math.sqrt(dot(row, row) + 1e-6);
  return row.map((x) => x / length);
}

export function dot(a: Row, b: Row): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

export function add(a: Rows, b: Rows): Rows {
  return a.map((row, t) => row.map((x, c) => x + b[t]![c]!));
}

export function chunks(row: Row, size: number): Rows {
  return Array.from({ length: row.length / size }, (_, n) => row.slice(n * size, (n + 1) * size));
}

export function matrix(weights: Weights, name: string): Rows {
  const { shape, data } = weights.get(name)!;
  return chunks(Array.from(data), shape[1]!);
}

export function vector(weights: Weights, name: string): Row {
  return Array.from(weights.get(name)!.data);
}
