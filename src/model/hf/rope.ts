/**
 * Reads the rotary embedding from config.json: `rope_scaling` of transformers 4, `rope_parameters` of version 5, and
 * the keys beside them, interpreted as in modeling_rope_utils.py of transformers 5.
 */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import type { Family } from "../family.ts";
import {
  longropeAttentionFactor,
  type RopeScaling,
  type RopeSpec,
  YARN_DEFAULTS,
  yarnAttentionFactor,
} from "../rope_spec.ts";

/** The config.json that is read. */
export interface Context {
  readonly family: Family;
  /** The file, for messages. */
  readonly where: string;
}

const length = z
  .int()
  .positive()
  .max(2 ** 31);
const positive = z.number().positive();
const factors = z
  .array(positive)
  .max(2 ** 16)
  .nullish();
const part = z.number().positive().max(1);

/** Null means absent, except for `factor`. */
const parameters = z.object({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: positive.nullish(),
  factor: positive.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  original_max_position_embeddings: length.nullish(),
  partial_rotary_factor: z.number().nonnegative().max(1).nullish(),
  attention_factor: positive.nullish(),
  mscale: z.number().nonnegative().nullish(),
  mscale_all_dim: z.number().nonnegative().nullish(),
  short_mscale: positive.nullish(),
  long_mscale: positive.nullish(),
  beta_fast: z.number().nonnegative().nullish(),
  beta_slow: z.number().nonnegative().nullish(),
  truncate: z.boolean().nullish(),
  llama_4_scaling_beta: z.number().nonnegative().nullish(),
  alpha: z.number().nonnegative().nullish(),
  short_factor: factors,
  long_factor: factors,
});
type NumberKey =
  | "rope_theta"
  | "factor"
  | "low_freq_factor"
  | "high_freq_factor"
  | "original_max_position_embeddings"
  | "partial_rotary_factor"
  | "attention_factor"
  | "mscale"
  | "mscale_all_dim"
  | "short_mscale"
  | "long_mscale"
  | "beta_fast"
  | "beta_slow"
  | "llama_4_scaling_beta"
  | "alpha";
interface RopeParameters extends Partial<Readonly<Record<NumberKey, number | null | undefined>>> {
  readonly rope_type?: string | null | undefined;
  readonly type?: string | null | undefined;
  readonly truncate?: boolean | null | undefined;
  readonly short_factor?: readonly number[] | null | undefined;
  readonly long_factor?: readonly number[] | null | undefined;
}
interface RopeByLayerType extends RopeParameters {
  readonly full_attention?: RopeParameters | null | undefined;
  readonly sliding_attention?: RopeParameters | null | undefined;
}

/** `rope_parameters` of transformers 5: the same for all layers, or by type of layer. */
const byLayerType = parameters.extend({
  full_attention: parameters.nullish(),
  sliding_attention: parameters.nullish(),
});

const nested = z.undefined({ error: "expected one scaling for all layers" }).optional();

/** `rope_scaling`, which no class reads by type of layer. */
const forAllLayers = parameters.extend({ full_attention: nested, sliding_attention: nested });

/** Keys of config.json for rotary embedding. */
export interface RopeConfig {
  readonly max_position_embeddings: number;
  readonly rope_theta: number | undefined;
  readonly rotary_emb_base: number | undefined;
  readonly rotary_pct: number | undefined;
  readonly rotary_dim: number | null | undefined;
  readonly rope_local_base_freq: number | undefined;
  readonly rope_scaling: RopeParameters | null | undefined;
  readonly rope_parameters: RopeByLayerType | null | undefined;
  readonly partial_rotary_factor: number | null | undefined;
  readonly original_max_position_embeddings: number | null | undefined;
}

type RopeKeys = Omit<RopeConfig, "max_position_embeddings">;

/** Schemas of those keys, `max_position_embeddings` aside. */
export const ROPE_KEYS: { readonly [K in keyof RopeKeys]: z.ZodType<RopeKeys[K]> } = {
  rope_theta: positive.optional(),
  rotary_emb_base: positive.optional(),
  rotary_pct: part.optional(),
  rotary_dim: length.nullish(),
  rope_local_base_freq: positive.optional(),
  rope_scaling: forAllLayers.nullish(),
  rope_parameters: byLayerType.nullish(),
  partial_rotary_factor: part.nullish(),
  original_max_position_embeddings: length.nullish(),
};

/**
 * The rotary embedding of one layer.
 * @param headDim - H
 * @param windowed - whether the layer has a sliding window
 * @throws GpruneError UNSUPPORTED for a scaling or a partial rotation that is not computed, BAD_CONFIG for values out
 * of range
 */
export function ropeOf(
  config: RopeConfig,
  context: Context,
  { headDim, windowed }: { readonly headDim: number; readonly windowed: boolean },
): RopeSpec {
  const { computes, config: keys, defaults } = context.family;
  const { rotaryKeys } = keys;
  if (rotaryKeys.theta === null) return plainRope(config, context, headDim);
  const local = computes.ropeByLayerType && windowed;
  if (local && defaults.disputedRopeTheta) requireUsualBase(config, context);
  const parameters = ropeParameters(config, context, local);
  const theta =
    (local
      ? (parameters.rope_theta ?? config.rope_local_base_freq ?? defaults.localRopeTheta)
      : (parameters.rope_theta ?? config[rotaryKeys.theta])) ?? defaults.ropeTheta;
  // Beside the parameters, null stands for whole heads, not for the class's default (`convert_rope_params_to_dict`).
  const { [rotaryKeys.part]: beside = defaults.rotaryPart } = config;
  const part = parameters.partial_rotary_factor ?? beside ?? 1;
  if (computes.scaledRotary === "all" && typeOf(parameters) === "proportional")
    return { theta, rotaryDim: headDim, scaling: proportionalScaling(parameters, { headDim, part }) };
  requireRotatable(part, context);
  const rotaryDim = Math.floor(headDim * part);
  if (rotaryDim % 2 !== 0 || rotaryDim === 0) {
    throw badConfig(context, "an even number of rotated channels", rotaryDim);
  }
  const alpha = computes.scalesBase && typeOf(parameters) === "dynamic" ? parameters.alpha : null;
  if (alpha) return { theta: scaledBase(theta, { alpha, headDim, context }), rotaryDim, scaling: null };
  const usual = usualScaling(config, theta, context);
  const scaling = usual ?? scalingOf(parameters, config, { ...context, pairs: rotaryDim / 2 });
  return { theta, rotaryDim, scaling };
}

/**
 * Refuses another base than the class's alone: version 4 of transformers and vLLM rotate all layers by it, version 5
 * those without windows (configuration_olmo3.py).
 */
function requireUsualBase(config: RopeConfig, { family, where }: Context): void {
  const { rope_parameters: parameters, rope_theta: theta } = config;
  const { ropeTheta: usual } = family.defaults;
  if (parameters || theta === undefined || theta === usual) return;
  const expected = `rope_parameters of ${family.modelType}, or rope_theta ${usual}`;
  throw new GpruneError("UNSUPPORTED", `${where}: expected ${expected}, got rope_theta ${theta} alone`, {
    hint: "Versions of transformers disagree on it. Say in rope_parameters how each type of layers is rotated.",
  });
}

/** `_compute_proportional_rope_parameters`, for heads of `headDim` channels of which a part turns. */
function proportionalScaling(
  { factor }: RopeParameters,
  { headDim, part }: { readonly headDim: number; readonly part: number },
): RopeScaling {
  return { type: "proportional", pairs: Math.floor(Math.trunc(part * headDim) / 2), factor: factor ?? 1 };
}

/**
 * The scaling of a class that has one where config.json says nothing; undefined where it does, and for other classes.
 * @throws GpruneError UNSUPPORTED where versions of transformers disagree: with null, 4 has no scaling and 5 the
 *   class's; and only 4 takes a base without `rope_parameters` (configuration_apertus.py), if not all versions do
 *   (configuration_gpt_oss.py)
 */
function usualScaling(
  config: RopeConfig,
  theta: number,
  { family, where }: Context,
): RopeScaling | undefined {
  const { rope_parameters: parameters, rope_scaling: scaling } = config;
  const { scaling: usual, scalesAnyBase = false, ropeTheta } = family.defaults;
  const isSilent = !parameters && Object.keys(scaling ?? {}).length === 0;
  if (usual === undefined || !isSilent) return undefined;
  if (scaling === undefined && (scalesAnyBase || theta === ropeTheta)) return usual;
  const got = scaling === undefined ? `rope_theta ${theta}` : "an empty rope_scaling";
  const message = `${where}: expected rope_parameters or rope_scaling of ${family.modelType}, got ${got} alone`;
  throw new GpruneError("UNSUPPORTED", message, {
    hint: "Versions of transformers disagree on it. Say in rope_parameters how the model was trained.",
  });
}

/** The rotation of a class whose only key for it is `rotary_dim`. @throws GpruneError BAD_CONFIG if it is impossible */
function plainRope(config: RopeConfig, context: Context, headDim: number): RopeSpec {
  const { ropeTheta: theta, rotaryDim: usual } = context.family.defaults;
  const { rotary_dim: rotaryDim = usual } = config;
  if (isNumber(rotaryDim) && rotaryDim % 2 === 0 && rotaryDim <= headDim)
    return { theta, rotaryDim, scaling: null };
  throw badConfig(context, `rotary_dim an even number of at most ${headDim}`, rotaryDim);
}

/**
 * `compute_default_rope_parameters` of modeling_hunyuan_v1_dense.py; heads of two channels have no other base.
 * @throws GpruneError BAD_CONFIG for an alpha that makes the base infinite or 0
 */
function scaledBase(
  theta: number,
  {
    alpha,
    headDim,
    context,
  }: { readonly alpha: number; readonly headDim: number; readonly context: Context },
): number {
  const base = headDim === 2 ? theta : theta * alpha ** (headDim / (headDim - 2));
  if (base > 0 && Number.isFinite(base)) return base;
  throw badConfig(context, "an alpha with a finite, positive base of the rotation", `${alpha}, base ${base}`);
}

function typeOf({ rope_type: type, type: oldType }: RopeParameters): string {
  return type ?? oldType ?? "default";
}

/**
 * Refuses to rotate a part of each head where the class cannot, since programs disagree on the result: transformers 5
 * rotates whole heads, version 4 fails, and vLLM rotates the part.
 * @param part - fraction of the channels of a head, 0..1
 */
function requireRotatable(part: number, { family, where }: Context): void {
  if (part === 1 || family.computes.partialRotary) return;
  const expected = `partial_rotary_factor 1 for ${family.modelType}`;
  throw new GpruneError("UNSUPPORTED", `${where}: expected ${expected}, got ${part}`, {
    hint: "Programs disagree on other values. Remove the key if whole heads are rotated.",
  });
}

/**
 * Rotary parameters of a layer: `rope_parameters` of transformers 5, flat or by layer type, or `rope_scaling` before.
 * Where both are there, `rope_scaling` wins, as in either version, since people add it to stretch a model
 * (modeling_rope_utils.py). A class with parameters by layer type ignores flat ones, and merges `rope_scaling` into
 * those of layers without windows (configuration_gemma3.py).
 */
function ropeParameters(config: RopeConfig, context: Context, local: boolean): RopeParameters {
  const { ropeByLayerType } = context.family.computes;
  if (ropeByLayerType) requireTypeByNewName(config.rope_scaling ?? {}, context);
  const flat = config.rope_parameters ?? {};
  if (!ropeByLayerType && (flat.full_attention || flat.sliding_attention))
    throw badConfig(context, "rope_parameters for all layers", "some for each type of layers");
  const ofType = ropeByLayerType ? (flat[local ? "sliding_attention" : "full_attention"] ?? {}) : flat;
  const scaling = config.rope_scaling ?? {};
  if (local || Object.keys(scaling).length === 0) return ofType;
  return ropeByLayerType ? { ...ofType, ...scaling } : scaling;
}

/**
 * Refuses `rope_scaling` with its type under the older key where a class merges it into parameters by layer type:
 * transformers 4 does not load it, version 5 computes as if there were no scaling.
 */
function requireTypeByNewName({ rope_type: type, type: oldType }: RopeParameters, { where }: Context): void {
  if (typeof type === "string" || (oldType ?? "default") === "default") return;
  const got = `type ${plainName(JSON.stringify(oldType))} alone`;
  throw new GpruneError("UNSUPPORTED", `${where}: expected rope_scaling with rope_type, got ${got}`, {
    hint: "transformers ignores this scaling. Rename the key to rope_type to have it, or remove rope_scaling.",
  });
}

/** Readers of scalings by type; they return undefined where a parameter is missing. */
const SCALINGS: Readonly<Record<string, ScalingReader>> = {
  default: () => null,
  linear: ({ factor }) => (isNumber(factor) ? { type: "linear", factor } : undefined),
  llama3: ({ factor, low_freq_factor: lowFreqFactor, high_freq_factor: highFreqFactor }, { original }) =>
    isNumber(factor) && isNumber(lowFreqFactor) && isNumber(highFreqFactor) && lowFreqFactor < highFreqFactor
      ? { type: "llama3", factor, lowFreqFactor, highFreqFactor, originalMaxPositions: original }
      : undefined,
  yarn: yarnScaling,
  longrope: longropeScaling,
  dynamic: dynamicScaling,
};

type ScalingReader = (parameters: RopeParameters, inputs: ScalingInputs) => RopeScaling | null | undefined;

/** Quantities that a scaling depends on besides its parameters. */
interface ScalingInputs {
  /** rotaryDim / 2. */
  readonly pairs: number;
  /** The longest sequence, tokens. */
  readonly longest: number;
  /** The longest sequence before scaling, tokens. */
  readonly original: number;
  readonly context: Context;
}

function scalingOf(
  parameters: RopeParameters,
  config: RopeConfig,
  { pairs, ...context }: Context & { readonly pairs: number },
): RopeSpec["scaling"] {
  const { family, where } = context;
  const name = typeOf(parameters);
  const type = Object.hasOwn(family.config.scalingNames, name) ? family.config.scalingNames[name]! : name;
  const isRead =
    family.computes.scaledRotary !== "longrope_mscales" || ["default", "longrope"].includes(type);
  const read = isRead && Object.hasOwn(SCALINGS, type) ? SCALINGS[type] : undefined;
  const { max_position_embeddings: longest } = config;
  const original = originalLength(parameters, config, family);
  const scaling = read?.(parameters, { pairs, longest, original, context });
  if (family.computes.growsQueries && (scaling?.type !== "yarn" || scaling.queryGrowth === undefined)) {
    throw badConfig(context, "rope type yarn with llama_4_scaling_beta", JSON.stringify(parameters));
  }
  if (scaling !== undefined) return scaling;
  const expected =
    "rope type default, linear with factor, llama3 with factor, low_freq_factor and a larger high_freq_factor, yarn with factor, " +
    "longrope with short_factor and long_factor, or dynamic with a factor of at least 1";
  throw new GpruneError("UNSUPPORTED", `${where}: expected ${expected}, got ${JSON.stringify(parameters)}`, {
    hint: "Other RoPE scalings are not supported.",
  });
}

/**
 * The length before scaling, as `standardize_rope_params` finds it: the key beside the parameters or the class's
 * default, both ignored where parameters are by layer type; then the key among them; then the longest sequence.
 */
function originalLength(
  parameters: RopeParameters,
  config: RopeConfig,
  { computes, defaults }: Family,
): number {
  const beside = config.original_max_position_embeddings ?? defaults.originalPositions;
  const first = computes.ropeByLayerType ? null : beside;
  return first ?? parameters.original_max_position_embeddings ?? config.max_position_embeddings;
}

/** `_compute_yarn_parameters`: a null factor is longest / original; by layer type, `truncate` is ignored. */
function yarnScaling(
  parameters: RopeParameters,
  { longest, original, context }: ScalingInputs,
): RopeScaling | undefined {
  const { attention_factor: attention, mscale, mscale_all_dim: allDim } = parameters;
  const growth = context.family.computes.growsQueries ? parameters.llama_4_scaling_beta : null;
  if (parameters.factor === undefined) return undefined;
  const factor = parameters.factor ?? longest / original;
  const ratio =
    mscale && allDim ? yarnAttentionFactor(factor, mscale) / yarnAttentionFactor(factor, allDim) : null;
  return {
    type: "yarn",
    factor,
    originalMaxPositions: original,
    attentionFactor: finite(attention ?? ratio ?? yarnAttentionFactor(factor), context),
    betaFast: parameters.beta_fast || YARN_DEFAULTS.betaFast,
    betaSlow: parameters.beta_slow || YARN_DEFAULTS.betaSlow,
    truncate: context.family.computes.ropeByLayerType || (parameters.truncate ?? YARN_DEFAULTS.truncate),
    ...(isNumber(growth) && { queryGrowth: growth }),
    ...(context.family.computes.latents && allDim && { allDim }),
  };
}

/**
 * `_compute_longrope_parameters`. @throws GpruneError BAD_CONFIG unless there is a factor for every pair of channels
 */
function longropeScaling(
  { short_factor: shortFactors, long_factor: longFactors, ...parameters }: RopeParameters,
  { pairs, longest, original, context }: ScalingInputs,
): RopeScaling | undefined {
  if (!shortFactors || !longFactors) return undefined;
  for (const { length } of [shortFactors, longFactors]) {
    if (length !== pairs)
      throw badConfig(context, `short_factor and long_factor of ${pairs} numbers`, length);
  }
  const usual = longropeAttentionFactor(parameters.factor ?? longest / original, original);
  const attentionFactor =
    context.family.computes.scaledRotary === "longrope_mscales"
      ? mscaleOf(parameters, context)
      : (parameters.attention_factor ?? usual);
  return {
    type: "longrope",
    shortFactors,
    longFactors,
    originalMaxPositions: original,
    attentionFactor: finite(attentionFactor, context),
  };
}

/** The factor on cosines and sines of short and of long sequences. @throws GpruneError BAD_CONFIG if there are two */
function mscaleOf({ short_mscale: short, long_mscale: long }: RopeParameters, context: Context): number {
  if (isNumber(short) && short === long) return short;
  throw badConfig(context, "a short_mscale and the same long_mscale", `${short} and ${long}`);
}

/**
 * `_compute_dynamic_ntk_parameters`: the original length is the longest sequence. To grow the base takes two pairs of
 * channels.
 */
function dynamicScaling(
  { factor }: RopeParameters,
  { pairs, longest, context }: ScalingInputs,
): RopeScaling | undefined {
  if (!isNumber(factor) || factor < 1) return undefined;
  if (pairs < 2) throw badConfig(context, "at least 4 rotated channels for dynamic RoPE scaling", 2 * pairs);
  return { type: "dynamic", factor, originalMaxPositions: longest };
}

/** @throws GpruneError BAD_CONFIG for an attention factor that settings make infinite */
function finite(attentionFactor: number, context: Context): number {
  if (Number.isFinite(attentionFactor)) return attentionFactor;
  throw badConfig(context, "rope_parameters with a finite attention factor", attentionFactor);
}

function isNumber(value: number | null | undefined): value is number {
  return typeof value === "number";
}

/** The error for a value out of range. */
export function badConfig({ where }: Context, expected: string, got: unknown): GpruneError {
  return new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${String(got)}`);
}
