/**
 * The metadata of a GGUF file derived from a `ModelSpec`, complete and never patched from another file; spec.ts is the
 * inverse.
 *
 * Keys: docs/gguf.md of ggml-org/ggml and gguf-py/gguf/constants.py of llama.cpp.
 */
import { internalError } from "../../errors.ts";
import { type EncodedValue, f32, flag, flags, i32s, text, u32 } from "../../io/formats/gguf_values.ts";
import { ALIBI_MAX } from "../alibi.ts";
import { mainRope } from "../rope_layers.ts";
import { type RopeSpec, type YarnScaling, yarnAttentionFactor } from "../rope_spec.ts";
import { attentionLayers, type LayerSpec, type ModelSpec, queryHeads } from "../spec.ts";
import type { GgufArchitecture } from "./architecture.ts";
import { forLayers } from "./architectures.ts";
import { expertEntries, ffnWidthsOf } from "./experts.ts";
import { CLIP, FFN_WIDTH, LOGIT_CAP, MAX_ALIBI, NORM_EPS, PARALLEL, ROTATED } from "./keys.ts";
import { latentEntries } from "./latents.ts";
import { headDimsOf, kindEntries, WINDOW_PATTERN, WINDOWED } from "./layer_kinds.ts";
import { mixerEntries } from "./mixers.ts";
import { GROWTH_LENGTH, ORIGINAL_LENGTH, QUERY_GROWTH, TURNS, YARN_LOG_MULTIPLIER } from "./rope_scaling.ts";
import { LLAMA3_FACTORS, LONGROPE_FACTORS, llama3Factors, proportionalFactors } from "./rotary.ts";
import { streamEntries } from "./streams.ts";

/** Values by key, without or with the architecture's prefix. */
type Entries = readonly (readonly [string, EncodedValue])[];

/** All metadata under the architecture's prefix. */
export function ggufMetadataOf(
  spec: ModelSpec,
  name: string,
  architecture: GgufArchitecture,
): ReadonlyMap<string, EncodedValue> {
  const rope = mainRope(spec);
  const entries: Entries = [
    ["vocab_size", u32(spec.vocabSize)],
    ["context_length", u32(spec.maxPositions)],
    ["embedding_length", u32(spec.hiddenSize)],
    ["block_count", u32(spec.layers.length)],
    [FFN_WIDTH, oneOrAll(ffnWidthsOf(spec, architecture))],
    ...expertEntries(spec, architecture),
    ["attention.head_count", headCounts(spec)],
    ...headEntries(spec, architecture),
    [NORM_EPS[spec.normType], f32(spec.normEps)],
    ...(architecture.bothEpsilons ? [[NORM_EPS.layer, f32(spec.normEps)] as const] : []),
    ...(architecture.parallel === "family" ? [] : [[PARALLEL, flag(spec.parallel)] as const]),
    ...(architecture.unrotatedModels ? [[ROTATED, flag(rope !== null)] as const] : []),
    ...(rope === null ? [] : ropeEntries(rope, architecture)),
    ...localEntries(spec, architecture),
    ...windowEntries(spec, architecture),
    ...kindEntries(spec, architecture),
    ...streamEntries(spec, architecture),
    ...mixerEntries(spec),
    ...factorEntries(spec, architecture),
    ...(architecture.alibi === "key" ? [[MAX_ALIBI, f32(ALIBI_MAX)] as const] : []),
    ...(spec.projectionClip === null ? [] : [[CLIP, f32(spec.projectionClip)] as const]),
    ...(spec.scoreSoftcap === null ? [] : [["attn_logit_softcapping", f32(spec.scoreSoftcap)] as const]),
    ...(spec.logitSoftcap === null && !architecture.zeroUncaps
      ? []
      : [[LOGIT_CAP, f32(spec.logitSoftcap ?? 0)] as const]),
  ];
  return new Map(entries.map(([key, value]) => [`${name}.${key}`, value]));
}

/**
 * Divisors of rotary frequencies, shape [rotaryDim / 2], or [H / 2] in layers of two kinds, by the names of the tensors
 * that hold them.
 */
export function rotaryFactors(
  spec: ModelSpec,
  { twoKinds }: GgufArchitecture,
): ReadonlyMap<string, Float32Array> {
  const rope = mainRope(spec);
  if (twoKinds) {
    const isTurned = spec.layers.some(({ window }) => window === null);
    const factors = proportionalFactors(rope?.scaling ?? null, headDimsOf(spec).full);
    return new Map(isTurned ? [[LLAMA3_FACTORS, factors]] : []);
  }
  switch (rope?.scaling?.type) {
    case "llama3":
      return new Map([[LLAMA3_FACTORS, llama3Factors(rope, rope.scaling)]]);
    case "longrope":
      return new Map([
        [LONGROPE_FACTORS.long, Float32Array.from(rope.scaling.longFactors)],
        [LONGROPE_FACTORS.short, Float32Array.from(rope.scaling.shortFactors)],
      ]);
    default:
      return new Map();
  }
}

/** Query heads; layers without attention have those of the widest, as llama.cpp wants some in the first layer. */
function headCounts(spec: ModelSpec): EncodedValue {
  const widest = Math.max(...spec.layers.map(queryHeads));
  return perLayer(spec, (layer) => (layer.mixer === undefined ? queryHeads(layer) : widest));
}

function perLayer({ layers }: Pick<ModelSpec, "layers">, width: (layer: LayerSpec) => number): EncodedValue {
  return oneOrAll(layers.map(width));
}

/** One number where all layers agree, else an array. */
function oneOrAll(widths: readonly number[]): EncodedValue {
  return widths.every((value) => value === widths[0]) ? u32(widths[0]!) : i32s(widths);
}

function headEntries(spec: ModelSpec, architecture: GgufArchitecture): Entries {
  if (spec.latent !== undefined) return latentEntries(spec.latent, spec);
  const headDim = u32(headDimsOf(spec).full);
  return [
    ["attention.head_count_kv", keyValueHeads(spec, architecture)],
    ["attention.key_length", headDim],
    ["attention.value_length", headDim],
  ];
}

/** Those of layers without attention are 0, which says that they have none, but not beside delta rules. */
function keyValueHeads(spec: ModelSpec, { mixer }: GgufArchitecture): EncodedValue {
  const { layers } = mixer === "delta" ? { layers: attentionLayers(spec) } : spec;
  return perLayer({ layers }, ({ kvGroups }) => kvGroups);
}

function ropeEntries(rope: RopeSpec, { ropeSections, readsTurns }: GgufArchitecture): Entries {
  const { scaling } = rope;
  return [
    ["rope.dimension_count", u32(rope.rotaryDim)],
    ["rope.freq_base", f32(rope.theta)],
    ...(ropeSections ? [["rope.dimension_sections", i32s(sectionsOf(rope))] as const] : []),
    ...scalingEntries(rope),
    ...(readsTurns && scaling?.type === "yarn" ? turnEntries(scaling) : []),
  ];
}

function turnEntries({ betaFast, betaSlow }: YarnScaling): Entries {
  return [
    [TURNS.fast, f32(betaFast)],
    [TURNS.slow, f32(betaSlow)],
  ];
}

/** The part of heads that turns in layers with a window, where that may be another. */
function localEntries({ layers }: ModelSpec, { localRotation }: GgufArchitecture): Entries {
  const rope = layers.find(({ window }) => window !== null)?.rope;
  return localRotation && rope ? [[`rope.dimension_count${WINDOWED}`, u32(rope.rotaryDim)]] : [];
}

/**
 * Frequencies by the coordinate whose position turns them, of time, height and width, which take turns. Together they
 * are all, as the position of a fourth one is 0 for a text (llama-batch.cpp).
 */
function sectionsOf({ rotaryDim }: RopeSpec): readonly number[] {
  const frequencies = rotaryDim / 2;
  return [...[0, 1, 2].map((coordinate) => Math.ceil((frequencies - coordinate) / 3)), 0];
}

function scalingEntries(rope: RopeSpec): Entries {
  const { scaling } = rope;
  switch (scaling?.type) {
    case undefined:
      return [];
    case "linear":
      return [
        ["rope.scaling.type", text("linear")],
        ["rope.scaling.factor", f32(scaling.factor)],
      ];
    // The factors of Llama 3 are a tensor; with the length they can be told from others.
    case "llama3":
      return [[ORIGINAL_LENGTH, u32(scaling.originalMaxPositions)]];
    case "yarn":
      return yarnEntries(scaling);
    // Which pairs turn is a tensor.
    case "proportional":
      return scaling.factor === 1 ? [] : scalingEntries({ ...rope, scaling: { ...scaling, type: "linear" } });
    case "dynamic":
      throw internalError(`${scaling.type} scaling in a GGUF`);
    // Its factors are tensors.
    case "longrope":
      return [
        ["rope.scaling.type", text("longrope")],
        [ORIGINAL_LENGTH, u32(scaling.originalMaxPositions)],
        ["rope.scaling.attn_factor", f32(scaling.attentionFactor)],
      ];
  }
}

/** llama.cpp multiplies YaRN's default attention factor by `attn_factor` (llama-context.cpp). */
function yarnEntries({
  factor,
  originalMaxPositions,
  attentionFactor,
  queryGrowth,
  allDim,
}: YarnScaling): Entries {
  const entries = [
    ["rope.scaling.type", text("yarn")],
    ["rope.scaling.factor", f32(factor)],
    [ORIGINAL_LENGTH, u32(originalMaxPositions)],
  ] as const;
  // For latents, llama.cpp wants a tenth of it, and leaves cosines and sines as they are.
  const multiplier = allDim === undefined ? 1 : 0.1 * allDim;
  if (queryGrowth !== undefined) {
    const growth = [
      [QUERY_GROWTH, f32(queryGrowth)],
      [GROWTH_LENGTH, u32(originalMaxPositions)],
    ] as const;
    return [...entries, [YARN_LOG_MULTIPLIER, f32(multiplier)], ...growth];
  }
  if (allDim !== undefined) return [...entries, [YARN_LOG_MULTIPLIER, f32(multiplier)]];
  const usual = yarnAttentionFactor(factor);
  return [
    ...entries,
    ...(attentionFactor === usual
      ? []
      : [["rope.scaling.attn_factor", f32(attentionFactor / usual)] as const]),
  ];
}

function factorEntries(spec: ModelSpec, { multipliers, logitScale }: GgufArchitecture): Entries {
  const { logitDivisor } = spec;
  const logits = f32(logitScale === "divisor" ? logitDivisor : 1 / logitDivisor);
  const logitEntries = logitScale === null ? [] : [["logit_scale", logits] as const];
  if (!multipliers) return logitEntries;
  return [
    ["attention.scale", f32(spec.attentionScale)],
    ["embedding_scale", f32(spec.embeddingScale)],
    ["residual_scale", f32(spec.residualScale)],
    ...logitEntries,
  ];
}

function windowEntries({ layers }: ModelSpec, architecture: GgufArchitecture): Entries {
  const { fullAttentionEvery, windowFlags, localRopeTheta } = forLayers(architecture, layers.length);
  const windowed = layers.find(({ window }) => window !== null);
  if (fullAttentionEvery === null || windowed === undefined) return [];
  const entries: Entries = [
    ["attention.sliding_window", u32(windowed.window ?? 0)],
    ...(windowFlags ? [[WINDOW_PATTERN, flags(layers.map(({ window }) => window !== null))] as const] : []),
  ];
  if (localRopeTheta === null || windowed.rope === null) return entries;
  return [...entries, ["rope.freq_base_swa", f32(windowed.rope.theta)]];
}
