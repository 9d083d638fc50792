/** Scaled rotary embeddings of tiny models. */
import type { Llama3Scaling, LongropeScaling, RopeSpec } from "../src/model/spec.ts";

/** Llama 3.1's. */
export const LLAMA3: Llama3Scaling = {
  type: "llama3",
  factor: 8,
  lowFreqFactor: 1,
  highFreqFactor: 4,
  originalMaxPositions: 8192,
};

/** LongRoPE on heads of 4 channels, that tells apart sequences of up to 8 tokens and longer ones. */
const LONGROPE: LongropeScaling = {
  type: "longrope",
  shortFactors: [1.1, 1.2],
  longFactors: [1.5, 4],
  originalMaxPositions: 8,
  attentionFactor: 1.25,
};

/** @param length - the longest sequence with short factors */
export function longrope(length: number = LONGROPE.originalMaxPositions): RopeSpec {
  return { theta: 100, rotaryDim: 4, scaling: { ...LONGROPE, originalMaxPositions: length } };
}
