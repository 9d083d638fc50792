/** Scaled rotary position embeddings for tiny models. */
import {
  type Llama3Scaling,
  type LongropeScaling,
  type RopeSpec,
  YARN_DEFAULTS,
  type YarnScaling,
  yarnAttentionFactor,
} from "../src/model/rope_spec.ts";

/** Scaling of Llama 3.1. */
export const LLAMA3: Llama3Scaling = {
  type: "llama3",
  factor: 8,
  lowFreqFactor: 1,
  highFreqFactor: 4,
  originalMaxPositions: 8192,
};

/** YaRN with its usual settings. */
export const YARN: YarnScaling = {
  ...YARN_DEFAULTS,
  type: "yarn",
  factor: 4,
  originalMaxPositions: 16,
  attentionFactor: yarnAttentionFactor(4),
};

/** LongRoPE for heads of 4 channels, with long factors for sequences of more than 8 tokens. */
const LONGROPE: LongropeScaling = {
  type: "longrope",
  shortFactors: [1.1, 1.2],
  longFactors: [1.5, 4],
  originalMaxPositions: 8,
  attentionFactor: 1.25,
};

/** LongRoPE with another limit. @param length - the longest sequence with short factors */
export function longrope(length: number = LONGROPE.originalMaxPositions): RopeSpec {
  return { theta: 100, rotaryDim: 4, scaling: { ...LONGROPE, originalMaxPositions: length } };
}
