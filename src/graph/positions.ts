/**
 * Rotary angles and attention masks: the inputs of a layer's graph that depend on positions alone.
 * Formulas as in transformers' modeling_rope_utils.py (`default`, `linear`, `llama3`).
 */
import type { RopeSpec } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Positions `offset` to `offset + tokens` of a sequence. */
export interface Span {
  readonly tokens: number;
  /** Tokens before the first one (cached). */
  readonly offset: number;
}

/** Added to scores of invisible keys; far below any score, and finite so that sums stay finite. */
export const INVISIBLE = -1e30;

/** cos and sin of the rotation angles, shape [T, rotaryDim / 2] each. */
export function rotaryTables(
  rope: RopeSpec,
  { tokens, offset }: Span,
): { readonly cos: Tensor; readonly sin: Tensor } {
  const frequencies = inverseFrequencies(rope);
  const half = frequencies.length;
  const cos = new Float32Array(tokens * half);
  const sin = new Float32Array(tokens * half);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < half; i++) {
      // float32 products, as the reference forms them
      const angle = Math.fround((offset + t) * frequencies[i]!);
      cos[t * half + i] = Math.cos(angle);
      sin[t * half + i] = Math.sin(angle);
    }
  }
  const shape = [tokens, half];
  return { cos: { shape, data: cos }, sin: { shape, data: sin } };
}

/** Angle per position of every rotated channel pair, float32, shape [rotaryDim / 2]. */
export function inverseFrequencies({ theta, rotaryDim, scaling }: RopeSpec): Float32Array {
  return Float32Array.from({ length: rotaryDim / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / rotaryDim);
    if (scaling === null) return frequency;
    if (scaling.type === "linear") return frequency / scaling.factor;
    const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
    const turns = (originalMaxPositions * frequency) / (2 * Math.PI);
    const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    const blend = Math.min(1, Math.max(0, smooth));
    return (blend + (1 - blend) / factor) * frequency;
  });
}

/**
 * The causal mask of T query tokens over S = offset + T keys, repeated for the g heads of a group.
 * @param window - tokens a query sees, itself included; null for all
 * @returns shape [g*T, S]: 0 for visible keys, -1e30 for the others
 */
export function causalMask({ tokens, offset }: Span, groupSize: number, window: number | null): Tensor {
  const keys = offset + tokens;
  const data = new Float32Array(groupSize * tokens * keys);
  for (let t = 0; t < tokens; t++) {
    const last = offset + t;
    const first = window === null ? 0 : Math.max(0, last - window + 1);
    const row = data.subarray(t * keys, (t + 1) * keys);
    row.fill(INVISIBLE, 0, first);
    row.fill(INVISIBLE, last + 1);
  }
  for (let head = 1; head < groupSize; head++) data.copyWithin(head * tokens * keys, 0, tokens * keys);
  return { shape: [groupSize * tokens, keys], data };
}
