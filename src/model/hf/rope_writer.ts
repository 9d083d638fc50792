/** Writes the rotary embedding to config.json; rope.ts is the inverse. */
import type { Family, FamilyComputation, FamilyConfig } from "../family.ts";
import { mainRope, ropesOf } from "../rope_layers.ts";
import {
  type LongropeScaling,
  type RopeScaling,
  type RopeSpec,
  usualAttentionFactor,
  YARN_DEFAULTS,
  type YarnScaling,
} from "../rope_spec.ts";
import type { ModelSpec } from "../spec.ts";

/** Keys of a config.json. */
export type ConfigKeys = Record<string, unknown>;

/** `max_position_embeddings`: the longest sequence or, under dynamic scaling, the length that it starts from. */
export function maxPositionKey(spec: ModelSpec): ConfigKeys {
  const scaled = ropesOf(spec).flatMap(({ scaling }) => (scaling?.type === "dynamic" ? [scaling] : []));
  return { max_position_embeddings: scaled[0]?.originalMaxPositions ?? spec.maxPositions };
}

/** The keys for rotary embedding, as transformers 4 and 5 want them. */
export function ropeKeys({ layers, latent, maxPositions, ...spec }: ModelSpec, family: Family): ConfigKeys {
  const headDim = latent?.rotated ?? spec.headDim;
  const { computes, config, defaults } = family;
  const unused = { theta: defaults.ropeTheta, rotaryDim: headDim, scaling: null };
  const main = mainRope({ layers }) ?? unused;
  if (!computes.ropeByLayerType) return flatKeys(main, { headDim, maxPositions, family });
  const written = { maxPositions, saysTurns: config.saysTurns, scaledRotary: computes.scaledRotary };
  const local = layers.find(({ window, rope }) => window !== null && rope !== null)?.rope ?? main;
  const hasGlobal = layers.some(({ window, rope }) => window === null && rope !== null);
  const global = hasGlobal ? main : { ...main, theta: defaults.ropeTheta };
  const ofType = (rope: RopeSpec): ConfigKeys => ({
    ...ropeParameters(rope, written),
    ...(computes.partialRotary && { [config.rotaryKeys.part]: rotatedPart(rope, headDim) }),
  });
  const byType = { full_attention: ofType(global), sliding_attention: ofType(local) };
  if (config.scalingTypeKey === null) return { rope_parameters: byType };
  // In transformers 4 the plain keys are those of layers without a window.
  return {
    rope_theta: global.theta,
    rope_local_base_freq: local.theta,
    ...(global.scaling === null ? {} : { rope_scaling: byType.full_attention }),
    rope_parameters: byType,
  };
}

/** The keys of families with the same rotary embedding in all layers. */
function flatKeys(
  rope: RopeSpec,
  {
    headDim,
    maxPositions,
    family: { config, computes, defaults },
  }: Pick<ModelSpec, "headDim" | "maxPositions"> & { readonly family: Family },
): ConfigKeys {
  const { rotaryKeys, scalingTypeKey, saysTurns } = config;
  const written = { maxPositions, saysTurns, scaledRotary: computes.scaledRotary };
  if (rotaryKeys.theta === null) return { [rotaryKeys.part]: rope.rotaryDim };
  const isWhole = rope.rotaryDim === headDim && (defaults.rotaryPart ?? 1) === 1;
  const part = rotatedPart(rope, headDim);
  return {
    [rotaryKeys.theta]: rope.theta,
    // Null where transformers 4 would assume a scaling.
    ...(defaults.scaling === undefined ? {} : { rope_scaling: null }),
    ...scalingOfVersion4(rope, { ...written, scalingTypeKey }),
    ...(rope.scaling?.type === "longrope" ? originalLength(rope) : {}),
    ...(isWhole ? {} : { [rotaryKeys.part]: part }),
    rope_parameters: {
      ...ropeParameters(rope, written),
      ...(isWhole ? {} : { partial_rotary_factor: part }),
    },
  };
}

/** The fraction of H that gives the number of rotated channels when rounded down, as readers do. */
function rotatedPart({ rotaryDim }: Pick<RopeSpec, "rotaryDim">, headDim: number): number {
  const part = rotaryDim / headDim;
  return Math.floor(headDim * part) === rotaryDim ? part : part * (1 + Number.EPSILON);
}

/** What the keys of a scaling depend on besides it. */
interface ScalingFacts extends Pick<ModelSpec, "maxPositions">, Pick<FamilyComputation, "scaledRotary"> {
  readonly saysTurns: true | undefined;
}

function ropeParameters({ theta, rotaryDim, scaling }: RopeSpec, facts: ScalingFacts): ConfigKeys {
  const type = { rope_type: scaling?.type ?? "default", rope_theta: theta };
  const part = (pairs: number): number => rotatedPart({ rotaryDim: 2 * pairs }, rotaryDim);
  const turning = scaling?.type === "proportional" ? { partial_rotary_factor: part(scaling.pairs) } : {};
  return { ...type, ...turning, ...scalingKeys(scaling, facts), ...originalLength({ scaling }) };
}

/**
 * `rope_scaling`, which transformers 4 and 5 read. Version 4 wants exactly three keys for the longrope of Phi-3, and
 * for that of every family the original length beside them (modeling_rope_utils.py, configuration_phi3.py), for that of
 * Phi-3.5-MoE among them too (modeling_phimoe.py).
 */
function scalingOfVersion4(
  { scaling }: RopeSpec,
  { scalingTypeKey, ...facts }: ScalingFacts & Pick<FamilyConfig, "scalingTypeKey">,
): ConfigKeys {
  if (scaling === null || scalingTypeKey === null) return {};
  const keys = scalingKeys(scaling, facts);
  const isApart = scaling.type === "longrope" && facts.scaledRotary !== "longrope_mscales";
  const original = isApart ? {} : originalLength({ scaling });
  return { rope_scaling: { [scalingTypeKey]: scaling.type, ...keys, ...original } };
}

function originalLength({ scaling }: Pick<RopeSpec, "scaling">): ConfigKeys {
  if (scaling === null || !("originalMaxPositions" in scaling) || scaling.type === "dynamic") return {};
  return { original_max_position_embeddings: scaling.originalMaxPositions };
}

/** Keys of a scaling without its type and the original length. */
function scalingKeys(scaling: RopeScaling | null, facts: ScalingFacts): ConfigKeys {
  const { maxPositions, saysTurns } = facts;
  switch (scaling?.type) {
    case undefined:
      return {};
    case "linear":
    case "dynamic":
      return { factor: scaling.factor };
    case "proportional":
      return scaling.factor === 1 ? {} : { factor: scaling.factor };
    case "llama3":
      return {
        factor: scaling.factor,
        low_freq_factor: scaling.lowFreqFactor,
        high_freq_factor: scaling.highFreqFactor,
      };
    case "yarn":
      return {
        factor: scaling.factor,
        ...attentionKey(scaling, maxPositions),
        ...turnKeys(scaling, saysTurns === true),
        ...(scaling.allDim && { mscale: scaling.allDim, mscale_all_dim: scaling.allDim }),
      };
    case "longrope":
      return {
        short_factor: scaling.shortFactors,
        long_factor: scaling.longFactors,
        ...(facts.scaledRotary === "longrope_mscales"
          ? { short_mscale: scaling.attentionFactor, long_mscale: scaling.attentionFactor }
          : attentionKey(scaling, maxPositions)),
      };
  }
}

/** Left out where it is the default, as are the keys below: programs differ in which of them they know. */
function attentionKey(scaling: YarnScaling | LongropeScaling, maxPositions: number): ConfigKeys {
  const { attentionFactor } = scaling;
  const isUsual = attentionFactor === usualAttentionFactor(scaling, maxPositions);
  return isUsual ? {} : { attention_factor: attentionFactor };
}

function turnKeys(scaling: YarnScaling, saysAll: boolean): ConfigKeys {
  const { betaFast, betaSlow, truncate } = YARN_DEFAULTS;
  return {
    ...(scaling.betaFast === betaFast && !saysAll ? {} : { beta_fast: scaling.betaFast }),
    ...(scaling.betaSlow === betaSlow && !saysAll ? {} : { beta_slow: scaling.betaSlow }),
    ...(scaling.truncate === truncate && !saysAll ? {} : { truncate: scaling.truncate }),
    ...(scaling.queryGrowth === undefined ? {} : { llama_4_scaling_beta: scaling.queryGrowth }),
  };
}
