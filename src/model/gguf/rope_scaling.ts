/**
 * Reads how a GGUF file scales rotary frequencies: linear scaling and YaRN from keys, LongRoPE from factors, Llama 3's
 * scaling recovered from the factors that llama.cpp stores in its place. The result is what llama.cpp computes
 * (llama-context.cpp, rope_yarn in ggml-cpu/ops.cpp); settings that it does not look at are refused.
 */
import {
  type LongropeScaling,
  longropeAttentionFactor,
  type RopeScaling,
  type RopeSpec,
  YARN_DEFAULTS,
  type YarnScaling,
  yarnAttentionFactor,
} from "../rope_spec.ts";
import type { GgufArchitecture } from "./architecture.ts";
import type { GgufKeys } from "./keys.ts";
import { LLAMA3_FACTORS, LONGROPE_FACTORS, llama3Scaling, proportionalScaling } from "./rotary.ts";

/** Relative difference of attention factors that the rounding of settings to float32 explains. */
const FACTOR_TOLERANCE = 1e-6;

export const ORIGINAL_LENGTH = "rope.scaling.original_context_length";
/** Key of `YarnScaling.queryGrowth`. */
export const QUERY_GROWTH = "attention.temperature_scale";
/** Key of the number of tokens after which they grow; newer versions of llama.cpp read it. */
export const GROWTH_LENGTH = "attention.temperature_length";
/** Key of Hugging Face's `mscale_all_dim`: with 1, YaRN leaves the scores as they are; with 0, it sharpens them. */
export const YARN_LOG_MULTIPLIER = "rope.scaling.yarn_log_multiplier";

/** Keys of YaRN's `beta_fast` and `beta_slow`. */
export const TURNS = { fast: "rope.scaling.yarn_beta_fast", slow: "rope.scaling.yarn_beta_slow" } as const;

const TYPES = ["none", "linear", "yarn", "longrope"] as const;

/**
 * The scaling of a file; null for none.
 * @param rope - without its scaling
 * @param architecture - of the file
 * @throws GpruneError BAD_FILE for impossible values, UNSUPPORTED for scalings that are not computed
 */
export async function ropeScalingOf(
  keys: GgufKeys,
  rope: RopeSpec,
  architecture: GgufArchitecture,
): Promise<RopeScaling | null> {
  const name = "rope.scaling.type";
  const type = keys.metadata.optionalText(keys.key(name)) ?? "linear";
  if (!TYPES.some((known) => known === type)) {
    throw keys.unsupported(name, { expected: TYPES.join(", "), got: type });
  }
  const longrope = await longropeScaling(keys, rope, type);
  const scaling = type === "yarn" ? yarnScaling(keys, architecture) : linearScaling(keys, type);
  const factors = await factorScaling(keys, rope, architecture);
  if (factors?.type === "proportional" && scaling?.type === "linear" && longrope === null)
    return { ...factors, factor: scaling.factor };
  const scalings = [longrope, scaling, factors].filter((found) => found !== null);
  if (scalings.length > 1) {
    const types = scalings.map((found) => found.type).join(" and ");
    throw keys.unsupported("rope.scaling", { expected: "one scaling", got: types });
  }
  const [only = null] = scalings;
  if (only?.type !== "yarn" && only?.type !== "longrope") requireValue(keys, "rope.scaling.attn_factor", 1);
  if (only?.type !== "yarn" || only.queryGrowth === undefined) requireValue(keys, QUERY_GROWTH, 0);
  return only;
}

/** LongRoPE, also in llama.cpp's own Phi-3 files, which have the factors and no type. */
async function longropeScaling(
  keys: GgufKeys,
  { rotaryDim }: RopeSpec,
  type: string,
): Promise<LongropeScaling | null> {
  const { source } = keys.file;
  const names = Object.values(LONGROPE_FACTORS);
  if (type !== "longrope" && names.every((name) => source.info(name) === undefined)) return null;
  const factors = async (name: string): Promise<readonly number[]> => {
    const length = source.info(name)?.shape[0] ?? "none";
    if (length !== rotaryDim / 2) throw keys.bad(name, `${rotaryDim / 2} numbers`, length);
    return Array.from((await source.read(name)).data, (value) => keys.positive(name, value));
  };
  const longest = keys.size("context_length");
  const original = originalLength(keys) ?? longest;
  if (original < 2) throw keys.bad(ORIGINAL_LENGTH, "at least 2", original);
  return {
    type: "longrope",
    shortFactors: await factors(LONGROPE_FACTORS.short),
    longFactors: await factors(LONGROPE_FACTORS.long),
    originalMaxPositions: original,
    attentionFactor: closest(
      keys.factor("rope.scaling.attn_factor", 1),
      longropeAttentionFactor(longest / original, original),
    ),
  };
}

function linearScaling(keys: GgufKeys, type: string): RopeScaling | null {
  const factor = type === "linear" ? linearFactor(keys) : 0;
  return factor === 0 ? null : { type: "linear", factor };
}

/** The scaling that factors on the frequencies stand for. */
async function factorScaling(
  keys: GgufKeys,
  rope: RopeSpec,
  { twoKinds }: GgufArchitecture,
): Promise<RopeScaling | null> {
  const { source } = keys.file;
  if (source.info(LLAMA3_FACTORS) === undefined) return null;
  const { data } = await source.read(LLAMA3_FACTORS);
  const scaling = twoKinds
    ? proportionalScaling(data, rope)
    : llama3Scaling(data, rope, originalLength(keys));
  if (scaling !== undefined) return scaling;
  throw keys.unsupported(LLAMA3_FACTORS, {
    expected: twoKinds ? "factors of pairs that turn or do not" : "the RoPE factors of Llama 3",
    got: "different factors",
    hint: "Use the original Hugging Face checkpoint.",
  });
}

/** Divisor of positions, 0 for none. Files from before November 2023 have the older key and no type. */
function linearFactor(keys: GgufKeys): number {
  const names = ["rope.scaling.factor", "rope.scale_linear"];
  const present = names.find((name) => keys.metadata.has(keys.key(name)));
  return present === undefined ? 0 : keys.factor(present, 0);
}

/** `attn_factor` multiplies YaRN's own attention factor. */
function yarnScaling(keys: GgufKeys, architecture: GgufArchitecture): YarnScaling {
  const { growingFamily, latents, roundsYarn } = architecture;
  const factor = linearFactor(keys) || 1;
  const usual = growingFamily === null && !latents ? yarnAttentionFactor(factor) : 1;
  const growth = growingFamily === null ? null : keys.factor(QUERY_GROWTH, null);
  requireValue(keys, "rope.scaling.yarn_ext_factor", 1);
  requireValue(keys, "rope.scaling.yarn_attn_factor", usual);
  const originalMaxPositions = originalLength(keys) ?? keys.size("context_length");
  if (growth !== null) requireValue(keys, GROWTH_LENGTH, originalMaxPositions);
  if (!latents) requireValue(keys, YARN_LOG_MULTIPLIER, growingFamily === null ? 0 : 1);
  return {
    type: "yarn",
    factor,
    originalMaxPositions,
    attentionFactor: closest(keys.factor("rope.scaling.attn_factor", 1) * usual, usual),
    ...turnsOf(keys, architecture),
    truncate: roundsYarn,
    ...(growth !== null && { queryGrowth: growth }),
    ...(latents && { allDim: allDimOf(keys) }),
  };
}

function turnsOf(
  keys: GgufKeys,
  { readsTurns }: GgufArchitecture,
): Pick<YarnScaling, "betaFast" | "betaSlow"> {
  const { betaFast, betaSlow } = YARN_DEFAULTS;
  if (readsTurns)
    return { betaFast: keys.factor(TURNS.fast, betaFast), betaSlow: keys.factor(TURNS.slow, betaSlow) };
  requireValue(keys, TURNS.fast, betaFast);
  requireValue(keys, TURNS.slow, betaSlow);
  return { betaFast, betaSlow };
}

/** `mscale_all_dim`, which files have a tenth of. @throws GpruneError UNSUPPORTED for none: scores would be others */
function allDimOf(keys: GgufKeys): number {
  const tenth = keys.factor(YARN_LOG_MULTIPLIER, null);
  if (tenth !== null) return Number((10 * tenth).toPrecision(7));
  throw keys.unsupported(YARN_LOG_MULTIPLIER, { expected: "a positive number", got: "none" });
}

function originalLength(keys: GgufKeys): number | undefined {
  return keys.metadata.has(keys.key(ORIGINAL_LENGTH)) ? keys.size(ORIGINAL_LENGTH) : undefined;
}

/** `usual` for a value that differs from it by rounding, else the value as a short decimal number. */
function closest(value: number, usual: number): number {
  return isClose(value, usual) ? usual : Number(value.toPrecision(7));
}

/** @throws GpruneError UNSUPPORTED for an unusual value of a key that llama.cpp reads for other architectures only */
function requireValue(keys: GgufKeys, name: string, usual: number): void {
  const value = keys.metadata.optionalNumber(keys.key(name)) ?? usual;
  if (isClose(value, usual)) return;
  throw keys.unsupported(name, {
    expected: String(usual),
    got: value,
    hint: "llama.cpp does not support other values for this architecture. Use the original Hugging Face checkpoint.",
  });
}

function isClose(value: number, usual: number): boolean {
  return Math.abs(value - usual) <= FACTOR_TOLERANCE * Math.abs(usual);
}
