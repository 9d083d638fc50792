/** Rotary embedding as config.json has it, written. The way back is in hf_rope.ts. */
import type { Family } from "./families.ts";
import {
  type ModelSpec,
  mainRope,
  type RopeScaling,
  type RopeSpec,
  ropesOf,
  YARN_DEFAULTS,
  type YarnScaling,
  yarnAttentionFactor,
} from "./spec.ts";

type Json = Record<string, unknown>;

/** The keys for rotary embedding, as transformers 4 and 5 want them. */
export function ropeKeys({ layers, headDim }: ModelSpec, { ropeByLayerType, defaults }: Family): Json {
  const unused = { theta: defaults.ropeTheta, rotaryDim: headDim, scaling: null };
  const full = mainRope({ layers }) ?? unused;
  if (!ropeByLayerType) {
    const { rope_theta: _, ...scaled } = ropeParameters(full);
    const scaling = full.scaling === null ? {} : { rope_scaling: scaled };
    const partial = full.rotaryDim < headDim ? { partial_rotary_factor: rotatedPart(full, headDim) } : {};
    const parameters = { ...ropeParameters(full), ...partial };
    return { rope_theta: full.theta, ...scaling, ...partial, rope_parameters: parameters };
  }
  const ropes = (isFull: boolean): readonly RopeSpec[] =>
    ropesOf({ layers: layers.filter(({ window }) => (window === null) === isFull) });
  const local = ropes(false)[0] ?? full;
  const global = ropes(true).length > 0 ? full : { ...full, theta: defaults.ropeTheta };
  // Before transformers 5 layers without a window had the plain keys.
  const scaling = global.scaling === null ? {} : { rope_scaling: ropeParameters(global) };
  return {
    rope_theta: global.theta,
    rope_local_base_freq: local.theta,
    ...scaling,
    rope_parameters: { full_attention: ropeParameters(global), sliding_attention: ropeParameters(local) },
  };
}

/** A factor whose product with H, rounded down as readers do, is the number of rotated channels. */
function rotatedPart({ rotaryDim }: RopeSpec, headDim: number): number {
  const part = rotaryDim / headDim;
  return Math.floor(headDim * part) === rotaryDim ? part : part * (1 + Number.EPSILON);
}

function ropeParameters({ theta, scaling }: RopeSpec): Json {
  return { rope_type: scaling?.type ?? "default", rope_theta: theta, ...scalingKeys(scaling) };
}

function scalingKeys(scaling: RopeScaling | null): Json {
  switch (scaling?.type) {
    case undefined:
      return {};
    case "linear":
      return { factor: scaling.factor };
    case "llama3":
      return {
        factor: scaling.factor,
        low_freq_factor: scaling.lowFreqFactor,
        high_freq_factor: scaling.highFreqFactor,
        original_max_position_embeddings: scaling.originalMaxPositions,
      };
    case "yarn":
      return yarnKeys(scaling);
  }
}

/** What others assume is left out: programs differ in which of these keys they know. */
function yarnKeys({ factor, originalMaxPositions, attentionFactor, ...rest }: YarnScaling): Json {
  const { betaFast, betaSlow, truncate } = YARN_DEFAULTS;
  return {
    factor,
    original_max_position_embeddings: originalMaxPositions,
    ...(attentionFactor === yarnAttentionFactor(factor) ? {} : { attention_factor: attentionFactor }),
    ...(rest.betaFast === betaFast ? {} : { beta_fast: rest.betaFast }),
    ...(rest.betaSlow === betaSlow ? {} : { beta_slow: rest.betaSlow }),
    ...(rest.truncate === truncate ? {} : { truncate: rest.truncate }),
  };
}
